"""`make run` says what is missing or in the way; the Procfile and the Dockerfile's steps work."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.config import Config
from services import launch, start_checks
from services.engines.objects.development import free_ports
from tests.support.processes import ROOT, Server, wait_for
from tests.support.rules import DataDirectory

PYTHON = Path(sys.executable)


def clean_environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("BLOBKEEP_")}
    return kept | {"BLOBKEEP_CONFIG": os.devnull} | more


def run_bootstrap(home: Path, path: str, **more: str) -> subprocess.CompletedProcess[str]:
    """bootstrap.sh in a copy of its own. It can find a Python only on `path`."""
    home.mkdir(exist_ok=True)
    shutil.copy(ROOT / "bootstrap.sh", home)
    shutil.copy(ROOT / "pyproject.toml", home)
    environment = {"PATH": path, "HOME": str(home), **more}
    return subprocess.run(
        ["/bin/sh", "bootstrap.sh"], cwd=home, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with the system's small tools and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "cat", "cksum", "dirname", "printf", "rm", "echo"):
        found = shutil.which(name, path="/bin:/usr/bin")
        if found:
            (folder / name).symlink_to(found)
    return folder


def test_no_python_is_said_so(tools: Path, tmp_path: Path) -> None:
    done = run_bootstrap(tmp_path / "home", str(tools))
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed, but python3 is: not there, or does not run" in done.stderr
    assert "apt install python3 python3-venv" in done.stderr


def test_an_old_python_is_named_with_its_version(tools: Path, tmp_path: Path) -> None:
    old = tools / "python3"
    old.write_text(
        f'#!/bin/sh\nexec {PYTHON} -c "import sys; sys.version_info = (3, 9, 2); exec(sys.argv[1])" "$2"\n'
    )
    old.chmod(0o755)
    done = run_bootstrap(tmp_path / "home", str(tools))
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed, but python3 is: Python 3.9.2" in done.stderr


def test_a_python_without_venv_is_told_what_to_install(tools: Path, tmp_path: Path) -> None:
    lame = tools / "python3"
    lame.write_text(f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec {PYTHON} "$@"\n')
    lame.chmod(0o755)
    done = run_bootstrap(tmp_path / "home", str(tools))
    assert done.returncode == 1
    assert "its venv module is missing" in done.stderr
    assert re.search(r"apt install python3\.\d+-venv", done.stderr)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_in_use_is_told_with_its_user(data: DataDirectory, host: str) -> None:
    with socket.create_server((host, 0)) as taken:
        port = taken.getsockname()[1]
        config = Config(dir=data.root, listen=f"127.0.0.1:{port}")
        with pytest.raises(start_checks.InTheWay) as caught:
            start_checks.check(config)
    assert f"127.0.0.1:{port} is in use by process {os.getpid()} (" in str(caught.value)
    assert "make run BLOBKEEP_LISTEN=" in str(caught.value)


def test_a_directory_in_use_is_told_with_its_user(server: Server) -> None:
    with pytest.raises(start_checks.InTheWay, match=f"is in use by process {server.pid}"):
        start_checks.check(Config(dir=str(server.root), listen="127.0.0.1:0"))


def test_the_welcome_names_what_runs_where(tmp_path: Path) -> None:
    text = launch.welcome(Config(dir=str(tmp_path), listen="0.0.0.0:7777"))
    assert str(tmp_path) in text
    assert "curl --request POST http://localhost:7777/store/foo" in text


def serves(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_honcho_runs_the_procfile(data: DataDirectory) -> None:
    (port,) = free_ports(1)
    more = {"BLOBKEEP_LISTEN": f"127.0.0.1:{port}", "BLOBKEEP_DIR": data.root}
    honcho = subprocess.Popen(
        [PYTHON.parent / "honcho", "start"],
        cwd=ROOT,
        env=clean_environment(PATH=f"{PYTHON.parent}:{os.environ['PATH']}", **more),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: serves(port), what="an answer")
    finally:
        honcho.send_signal(signal.SIGINT)
        honcho.wait(120)


# --- the Dockerfile, step by step, without Docker ---


@pytest.fixture
def image() -> Iterator[Path]:
    """A folder in place of the image's file system. Other users may enter it, as in an image."""
    folder = Path(tempfile.mkdtemp(prefix="blobkeep-image-"))
    folder.chmod(0o755)
    before = os.umask(0o022)  # as in an image; a server that ran in this process may have left another
    yield folder
    os.umask(before)
    shutil.rmtree(folder)


def python_for_everyone() -> str | None:
    """An interpreter that users other than ours may run, and that can make virtual environments."""
    for name in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        folders = Path(name).resolve().parents
        if Path(name).exists() and all(folder.stat().st_mode & 0o001 for folder in folders):
            test = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"
            if subprocess.run([name, "-c", test], stderr=subprocess.DEVNULL, check=False).returncode == 0:
                return name
    return None


def dockerfile() -> list[tuple[str, str]]:
    """(instruction, arguments), continued lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in lines]


@pytest.mark.slow  # `make packaging`: pip builds and installs
@pytest.mark.skipif(os.getuid() != 0, reason="an image's user can be taken on by root alone")
def test_the_steps_of_the_dockerfile_give_a_server_that_runs_without_root(image: Path) -> None:
    workdir, data = image / "blobkeep", image / "data"
    workdir.mkdir()
    python = python_for_everyone()
    if python is None:
        pytest.skip("no Python here that another user may run")
    subprocess.run([python, "-m", "venv", image / "python"], check=True)  # stands for the base image's
    environment = {
        "PATH": f"{image}/python/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    user = port = None
    for instruction, arguments in dockerfile():
        match instruction:
            case "COPY":
                *sources, target = arguments.split()
                for source in sources:
                    to = workdir / target / ("" if target != "./" else source)
                    if (ROOT / source).is_dir():
                        shutil.copytree(
                            ROOT / source, workdir / target, ignore=shutil.ignore_patterns("__pycache__")
                        )
                    else:
                        shutil.copy(ROOT / source, to)
            case "RUN":
                command = arguments.replace("/data", str(data)).replace("-o blobkeep", "-o 7777")
                command = re.sub(r"useradd .*? blobkeep &&", "", command)  # no such user is made here
                subprocess.run(["/bin/sh", "-ec", command], cwd=workdir, env=environment, check=True)
            case "USER":
                user = arguments
            case "EXPOSE":
                port = int(arguments)
            case "ENV":
                environment |= dict([arguments.replace("/data", str(data)).split("=")])
    assert (user, port) == ("blobkeep", 7777)
    (port,) = free_ports(1)
    environment |= {"BLOBKEEP_LISTEN": f"127.0.0.1:{port}"}
    health = eval(dict(dockerfile())["HEALTHCHECK"].split("CMD", 1)[1])
    command = eval(dict(dockerfile())["CMD"])
    log = (image / "log").open("wb")
    container = subprocess.Popen(
        command, cwd=workdir, env=environment, user=7777, group=7777, stdout=log, stderr=log, extra_groups=[]
    )
    try:
        wait_for(lambda: serves(port), what="an answer")
        assert subprocess.run(health, env=environment, check=False).returncode == 0
        assert {path.stat().st_uid for path in data.iterdir()} == {7777}
        container.send_signal(signal.SIGTERM)
        assert container.wait(120) == 0
        assert subprocess.run(health, env=environment, stderr=subprocess.DEVNULL, check=False).returncode != 0
    finally:
        container.kill()
        log.close()
    DataDirectory(data).check()
