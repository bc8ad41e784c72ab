"""What people install: the wheel, in any folder, and the Debian package, in a root of its own. The tests are
slow, since pip builds and installs for a minute: `make packaging` runs them, as .ci/run does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.config import reader_count
from common.options import OPTIONS, Config
from common.version import VERSION
from services.engines.objects.development import free_ports
from tests.support.environment import environment
from tests.support.processes import ROOT, wait_for

pytestmark = pytest.mark.slow

RUNNING = 3 + reader_count(Config(), is_supervised=True)


def build(script: str, into: Path, **more: str) -> Path:
    """Run a script of packaging/. Gives the file that it makes in `into`."""
    env = {**environment(), "PYTHON": sys.executable, "INTO": str(into), **more}
    subprocess.run([ROOT / "packaging" / script, into], env=env, check=True, stdout=subprocess.DEVNULL)
    (made,) = into.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # PYTHON may name the Python that is to run it, such as Debian's, which has no pip. So the build must not
    # use it.
    return build("wheel.sh", tmp_path_factory.mktemp("wheel"), PYTHON="/bin/false")


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    """The bin folder of a new environment with the wheel. The packages that it needs come from our
    environment.
    """
    home = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", home / "bin" / "python"]
    subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    # A path in a .pth file is not searched for further .pth files: an editable Blobkeep stays out.
    (site / "needs.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def test_the_wheel_holds_all_that_it_runs_on(wheel: Path) -> None:
    names = {name.partition(".data/data/")[2] or name for name in zipfile.ZipFile(wheel).namelist()}
    here = [*(ROOT / "services").rglob("*"), *(ROOT / "common").rglob("*")]
    code = {
        str(path.relative_to(ROOT)) for path in here if path.is_file() and "__pycache__" not in path.parts
    }
    assert code <= names
    assert {name for name in names if name.startswith(("services/", "common/"))} == code
    for folder, at in (("conf", "share/blobkeep/conf"), ("docs", "share/doc/blobkeep")):
        files = {path for path in (ROOT / folder).rglob("*") if path.is_file()}
        wanted = {
            path
            for path in files
            if path.suffix not in (".svg", ".png") and path.name not in ("clients.toml", "performance.json")
        }
        assert {f"{at}/{path.relative_to(ROOT / folder)}" for path in wanted} <= names
    assert not [name for name in names if name.startswith("tests/")]


@contextlib.contextmanager
def served(command: list[Path | str], folder: Path, env: dict[str, str]) -> Iterator[Path]:
    """The whole system in the foreground of `folder`. Gives the path of its log, and ends it with SIGTERM."""
    log = folder.parent / "serve.log"
    with log.open("wb") as output:
        serving = subprocess.Popen(
            [*command, "serve"], cwd=folder, env=env, stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
    try:
        yield log
    finally:
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(120) == 0, log.read_text()


def test_the_installed_wheel_serves_in_any_folder(installed: Path, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    folder = tmp_path / "some folder, 100 % mine"
    folder.mkdir()
    # Packages of the same names in the folder must not be taken for ours.
    (folder / "services").mkdir()
    (folder / "services" / "__init__.py").write_text("raise SystemExit('the wrong one')\n")
    kept = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    env = {**kept, "BLOBKEEP_LISTEN": f"127.0.0.1:{port}", "PATH": os.defpath}
    ours = installed / "blobkeep"

    def run(*arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [ours, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stderr
        return done.stdout

    assert run("--version") == f"blobkeep {VERSION}\n"
    switched_on = [line.removeprefix("# ") for line in run("config").splitlines() if " = " in line]
    chosen = [line for line in switched_on if line.split(" ")[0] in OPTIONS]
    assert tomllib.loads("\n".join(chosen)).keys() == OPTIONS.keys()
    with served([ours], folder, env) as log:
        wait_for(lambda: subprocess.run([ours, "health"], env=env, cwd=folder).returncode == 0, what="health")
        assert f"Blobkeep {VERSION} " in log.read_text()
        (folder / "cat.txt").write_text("meow")
        run("put", "cat.txt", "photos/cat.txt")
        assert run("get", "photos/cat.txt") == "meow"
        assert run("ls") == "photos/cat.txt\n"
        page = subprocess.run(
            ["curl", "-s", f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True
        ).stdout
        assert "<title>" in page
        wait_for(lambda: run("ctl", "status").count("RUNNING") == RUNNING, what="all that run")
        run("check")
        run("rm", "photos/cat.txt")
    assert {path.name for path in folder.iterdir()} == {"data", "services", "cat.txt"}
    assert {path.name for path in (folder / "services").iterdir()} == {"__init__.py"}


# --- the Debian package ---

# In a mount namespace of its own: this machine's files below, and in memory what is written.
IN_A_ROOT_OF_ITS_OWN = """
set -e
mount -t tmpfs -o mode=0755 tmpfs "$1"
mkdir "$1/above" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/above,workdir=$1/work" "$1/root"
mount --rbind /proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs tmpfs "$1/root/tmp"
cp "$2" "$1/root/tmp/blobkeep.deb"
exec chroot "$1/root" /bin/sh -ec "$3"
"""

INSTALL_USE_PURGE = """
cd /tmp
before=$(stat -c %a /)
dpkg -i blobkeep.deb
test "$(stat -c %a /)" = "$before"
test "$(stat -c '%U %a' /var/lib/blobkeep)" = 'blobkeep 700'
blobkeep --version
gzip -dc /usr/share/man/man1/blobkeep.1.gz | grep -q 'SH NAME'
as_user() { setpriv --reuid blobkeep --regid blobkeep --clear-groups "$@"; }
cd /var/lib/blobkeep
as_user blobkeep serve 2>/tmp/log >/tmp/log2 &
serving=$!
tries=0
until as_user blobkeep health; do
    tries=$((tries + 1))
    test $tries -lt 300 || { cat /tmp/log; exit 1; }
    sleep 0.1
done
printf meow >/tmp/cat.txt
as_user blobkeep put /tmp/cat.txt photos/cat.txt
test "$(as_user blobkeep get photos/cat.txt)" = meow
as_user blobkeep ctl status
as_user blobkeep ctl shutdown
wait $serving
# What Python compiles later must not be left behind.
/opt/blobkeep/bin/python -c 'import json.tool, tornado.test'
echo '# mine' >>/etc/blobkeep/blobkeep.toml
dpkg -i /tmp/blobkeep.deb </dev/null # an upgrade
grep -q '# mine' /etc/blobkeep/blobkeep.toml
dpkg --remove blobkeep
test -e /etc/blobkeep/blobkeep.toml
dpkg --purge blobkeep
test ! -e /opt/blobkeep -a ! -e /usr/bin/blobkeep -a ! -e /etc/blobkeep
echo "kept: $(cat /var/lib/blobkeep/*/data.raw)"
"""


def can_have_a_root_of_its_own() -> bool:
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return (
        os.getuid() == 0
        and shutil.which("dpkg-deb") is not None
        and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not can_have_a_root_of_its_own(), reason="needs root, Debian and leave to mount")
def test_the_debian_package_installs_serves_and_leaves_the_blobs(tmp_path: Path) -> None:
    python = "/usr/bin/python3"
    test = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
    if subprocess.run([python, "-c", test], capture_output=True, check=False).returncode != 0:
        pytest.skip("Debian's python3-venv is not installed, or too old")
    (tmp_path / "dist").mkdir()
    (tmp_path / "root").mkdir()
    package = build("deb.sh", tmp_path / "dist", PYTHON=python)
    (port,) = free_ports(1)
    done = subprocess.run(
        [
            "unshare",
            "-m",
            "sh",
            "-c",
            IN_A_ROOT_OF_ITS_OWN,
            "sh",
            tmp_path / "root",
            package,
            INSTALL_USE_PURGE,
        ],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "BLOBKEEP_LISTEN": f"127.0.0.1:{port}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.endswith("kept: meow\n")
    assert "the blobs are still in /var/lib/blobkeep" in done.stdout
