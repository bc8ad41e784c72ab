#!/bin/sh
# Builds a Debian package into dist/: make deb. It holds an environment of its own in /opt/blobkeep, since the
# packages that are pinned are newer than Debian's; so it is for this architecture and this version of Python.
set -eu
umask 022
cd "$(dirname "$0")/.."
into=${INTO:-dist}
python=${PYTHON:-/usr/bin/python3} # the one that the package depends on
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

minor=$("$python" -c 'import sys; assert sys.version_info >= (3, 11), "too old"; print(sys.version_info[1])')
DESTDIR=$root PREFIX=/opt/blobkeep UNITS=/usr/lib/systemd/system PYTHON=$python packaging/install.sh

chmod 0755 "$root" # mktemp made it for us alone, and dpkg gives this mode to /
share=$root/opt/blobkeep/share
mkdir -p "$root/usr/bin" "$root/usr/share/man/man1" "$root/usr/share/doc/blobkeep" "$root/DEBIAN"
ln -s /opt/blobkeep/bin/blobkeep "$root/usr/bin/blobkeep"
gzip -9nc "$share/man/man1/blobkeep.1" >"$root/usr/share/man/man1/blobkeep.1.gz"
for folder in bash-completion zsh fish; do mv "$share/$folder" "$root/usr/share/"; done
mv "$root/usr/share/zsh/site-functions" "$root/usr/share/zsh/vendor-completions"
rm -r "$share/man"
cat >"$root/usr/share/doc/blobkeep/copyright" <<END
Blobkeep is under Apache-2.0: /usr/share/common-licenses/Apache-2.0
The packages in /opt/blobkeep/lib have licences of their own, each beside it in its *.dist-info.
END

version=$("$python" -c 'from common.version import VERSION; print(VERSION)')
architecture=$(dpkg --print-architecture)
sed -e "s|@VERSION@|$version|" -e "s|@ARCHITECTURE@|$architecture|" \
    -e "s|@PYTHON@|3.$minor|" -e "s|@NEXT_PYTHON@|3.$((minor + 1))|" \
    -e "s|@SIZE@|$(du -sk --exclude=DEBIAN "$root" | cut -f1)|" packaging/debian/control >"$root/DEBIAN/control"
for script in postinst prerm postrm; do
    install -m 0755 "packaging/debian/$script" "$root/DEBIAN/$script"
done
echo /etc/blobkeep/blobkeep.toml >"$root/DEBIAN/conffiles"
mkdir -p "$into"
dpkg-deb --root-owner-group -Zgzip --build "$root" "$into/blobkeep_${version}_$architecture.deb"
