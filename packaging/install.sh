#!/bin/sh
# Installs Blobkeep: an environment with its pinned packages in PREFIX, systemd's units, a configuration.
#   make install [PREFIX=/opt/blobkeep] [PYTHON=/usr/bin/python3]
# Over an older one it is an upgrade. It touches no data directory, and no configuration that is there.
# DESTDIR: a folder that stands for /, for whoever makes a package. UNITS: where systemd's units go.
set -eu
umask 022
cd "$(dirname "$0")/.."
PREFIX=${PREFIX:-/opt/blobkeep}
DESTDIR=${DESTDIR:-}
UNITS=${UNITS:-/etc/systemd/system}
python=${PYTHON:-$(.venv/bin/python -c 'import sys; print(sys._base_executable)')}
home=$DESTDIR$PREFIX
state=/var/lib/blobkeep

case $PREFIX in
/*) ;;
*) echo "PREFIX must be the whole path: PREFIX=/opt/blobkeep" >&2 && exit 2 ;;
esac

wheel=$(mktemp -d)
trap 'rm -rf "$wheel"' EXIT
packaging/wheel.sh "$wheel"
"$python" -m venv --without-pip "$home"
.venv/bin/python -m pip --python "$home/bin/python" install --quiet --disable-pip-version-check --no-input \
    --no-compile --upgrade --force-reinstall "$wheel"/blobkeep-*.whl
# What was written down is where it lies now; it has to be where it will lie.
if [ -n "$DESTDIR" ]; then
    find "$home/bin" -type f -exec sed -i "s|$DESTDIR||g" {} +
    sed -i "s|$DESTDIR||g" "$home/pyvenv.cfg"
fi
# The user that it runs as may not write here: compile now, not at each start.
"$home/bin/python" -m compileall -q ${DESTDIR:+-s "$DESTDIR" -p /} "$home/lib" || true # some test data is no Python

ours=$home/share
mkdir -p "$ours/man/man1" "$ours/bash-completion/completions" "$ours/zsh/site-functions" \
    "$ours/fish/vendor_completions.d"
blobkeep() { BLOBKEEP_CONFIG=/dev/null "$home/bin/python" -P -m services.tools "$@"; }
blobkeep man >"$ours/man/man1/blobkeep.1"
blobkeep completion bash >"$ours/bash-completion/completions/blobkeep"
blobkeep completion zsh >"$ours/zsh/site-functions/_blobkeep"
blobkeep completion fish >"$ours/fish/vendor_completions.d/blobkeep.fish"

if [ -z "$DESTDIR" ] && [ "$(id -u)" != 0 ]; then
    echo "Installed: $PREFIX/bin/blobkeep serve. Only root can add a system user and systemd's units."
    exit
fi

mkdir -p "$DESTDIR$UNITS" "$DESTDIR/etc/blobkeep"
for unit in conf/systemd/*; do
    sed "s|/opt/blobkeep|$PREFIX|g" "$unit" >"$DESTDIR$UNITS/${unit##*/}"
done
conf=$DESTDIR/etc/blobkeep/blobkeep.toml
if [ ! -e "$conf" ]; then
    blobkeep config | sed "s|^# dir = .*|dir = \"$state\"|" >"$conf"
fi
[ -z "$DESTDIR" ] || exit 0

getent passwd blobkeep >/dev/null ||
    useradd --system --user-group --no-create-home --home-dir "$state" --shell /usr/sbin/nologin blobkeep
[ -d "$state" ] || install -d -o blobkeep -g blobkeep -m 0700 "$state"
setpriv --reuid blobkeep --regid blobkeep --clear-groups "$PREFIX/bin/blobkeep" --version >/dev/null || {
    echo "The user blobkeep may not run $python: give one that everybody may, PYTHON=/usr/bin/python3." >&2
    exit 1
}
[ ! -d /run/systemd/system ] || systemctl daemon-reload
cat <<END
Installed in $PREFIX. Options: $conf. It listens on every address and asks nobody who he is, until they say
otherwise. Then:
  systemctl enable --now blobkeep       (after an upgrade: systemctl restart blobkeep)
  $PREFIX/bin/blobkeep health
END
