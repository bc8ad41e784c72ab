"""pip, git and apt take what they install from plain files under /store/. docs/works-with.md describes it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.clients.programs import run
from tests.conftest import StartServer
from tests.support.processes import Server
from tests.support.programs import need

WHEEL = "bkdemo-1.0-py3-none-any.whl"


@pytest.fixture
def server(start_server: StartServer) -> Server:
    return start_server("--put-creates")


def upload(server: Server, folder: Path, under: str) -> str:
    """Put the files of `folder` under `/store/<under>/`; its address."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            target = f"/store/{under}/{path.relative_to(folder)}"
            assert server.ask("PUT", target, path.read_bytes()).status == 201
    return f"http://127.0.0.1:{server.port}/store/{under}"


@pytest.mark.parametrize("where", ["an index", "a folder", "a folder without its slash"])
def test_pip_finds_a_wheel_by_the_listing(server: Server, tmp_path: Path, where: str) -> None:
    (tmp_path / "bkdemo").mkdir()
    with zipfile.ZipFile(tmp_path / "bkdemo" / WHEEL, "w") as wheel:
        wheel.writestr("bkdemo.py", "X = 1\n")
        about = "bkdemo-1.0.dist-info"
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: bkdemo\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    url = upload(server, tmp_path, "simple")
    slash = "" if where.endswith("without its slash") else "/"
    source = ["--index-url", f"{url}/"]
    if where != "an index":
        source = ["--no-index", "--find-links", f"{url}/bkdemo{slash}"]
    env = {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_INDEX": "",
        "PIP_FIND_LINKS": "",
        "PIP_EXTRA_INDEX_URL": "",
    }
    pip = (sys.executable, "-m", "pip", "--isolated", "download", "--no-deps", "--no-cache-dir")
    run(*pip, *source, "-d", "got", "bkdemo", cwd=tmp_path, env=env)
    assert (tmp_path / "got" / WHEEL).read_bytes() == (tmp_path / "bkdemo" / WHEEL).read_bytes()


def test_git_clones_a_repository_of_plain_files(server: Server, tmp_path: Path) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")

    def git(*args: str) -> str:
        return run(need("git"), *who, *args, cwd=tmp_path, env={"GIT_CONFIG_NOSYSTEM": "1"})[0]

    git("init", "-q", "work")
    for number in range(3):
        (tmp_path / "work" / f"file {number}").write_text(str(number))
        git("-C", "work", "add", "-A")
        git("-C", "work", "commit", "-q", "-m", str(number))
    git("clone", "-q", "--bare", "work", "bare.git")
    git("-C", "bare.git", "gc", "-q")
    git("-C", "bare.git", "update-server-info")
    url = upload(server, tmp_path / "bare.git", "bare.git")
    git("clone", "-q", url, "back")
    assert git("-C", "back", "rev-parse", "HEAD") == git("-C", "work", "rev-parse", "HEAD")
    assert (tmp_path / "back/file 2").read_text() == "2"


def test_apt_installs_from_a_flat_repository(server: Server, tmp_path: Path) -> None:
    """It asks for `deb/./Packages`, and again with If-Modified-Since."""
    control = tmp_path / "made/DEBIAN/control"
    control.parent.mkdir(parents=True)
    fields = "Package: bkdemo\nVersion: 1.0\nArchitecture: all\nMaintainer: a <a@example.com>\n"
    control.write_text(f"{fields}Description: nothing\n")
    repository = tmp_path / "repository"
    repository.mkdir()
    package = repository / "bkdemo.deb"
    subprocess.run([need("dpkg-deb"), "-b", tmp_path / "made", package], check=True, capture_output=True)
    size, digest = package.stat().st_size, hashlib.sha256(package.read_bytes()).hexdigest()
    packages = f"{fields}Filename: ./bkdemo.deb\nSize: {size}\nSHA256: {digest}\nDescription: nothing\n"
    (repository / "Packages").write_text(packages)
    url = upload(server, repository, "deb")

    for folder in ("lists/partial", "cache/archives/partial"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "status").touch()
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] {url} ./\n")
    settings = {
        "Dir::State": tmp_path,
        "Dir::State::lists": tmp_path / "lists",
        "Dir::State::status": tmp_path / "status",
        "Dir::Cache": tmp_path / "cache",
        "Dir::Etc::sourcelist": tmp_path / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "APT::Sandbox::User": "",
        "Acquire::http::Proxy": "DIRECT",
        "Acquire::Languages": "none",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]

    def apt(*args: str) -> str:
        return run(need("apt-get"), *options, *args, cwd=tmp_path)[0]

    assert "Get:" in apt("update")
    assert "Packages" in apt("update").partition("Hit:")[2]  # 304
    apt("download", "bkdemo")
    assert (tmp_path / "bkdemo_1.0_all.deb").read_bytes() == package.read_bytes()
