"""Options: where they come from, which source wins, and what each mistake is called."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from common import config
from common.config import Config, host_and_port, load
from common.errors import ConfigError
from common.options import OPTIONS
from common.options_file import as_toml

ROOT = Path(__file__).resolve().parents[2]


def read(
    tmp_path: Path,
    *argv: str,
    toml: str = "",
    environment: Mapping[str, str] | None = None,
    program: str = "server",
) -> Config:
    """The options of a process started with a file of this content."""
    file = tmp_path / "blobkeep.toml"
    file.write_text(toml)
    return load(["-c", str(file), *argv], program, environment or {})


def test_without_anything_given_every_option_is_at_its_default(tmp_path: Path) -> None:
    assert read(tmp_path) == Config()


def test_a_flag_wins_over_the_environment_that_over_the_file_that_over_the_default(tmp_path: Path) -> None:
    variable = {"BLOBKEEP_MAX_UPLOADS": "30"}
    assert read(tmp_path).max_uploads == 256
    assert read(tmp_path, toml="max_uploads = 20").max_uploads == 20
    assert read(tmp_path, toml="max_uploads = 20", environment=variable).max_uploads == 30
    assert (
        read(tmp_path, "--max-uploads", "40", toml="max_uploads = 20", environment=variable).max_uploads == 40
    )


def test_the_flags_of_the_original_work(tmp_path: Path) -> None:
    options = read(tmp_path, "-D", "--dir", "/srv/blobs", "-s", "127.0.0.1:8080")
    assert (options.debug, options.dir, options.listen) == (True, "/srv/blobs", "127.0.0.1:8080")


@pytest.mark.parametrize("program", ["gc", "recovery"])
def test_the_workers_take_dir_debug_and_once(tmp_path: Path, program: str) -> None:
    options = read(tmp_path, "-D", "--dir", "x", "--once", program=program)
    assert (options.debug, options.dir, options.once) == (True, "x", True)


def test_only_recovery_takes_dry_run(tmp_path: Path) -> None:
    assert read(tmp_path, "--once", "--dry-run", program="recovery").dry_run
    with pytest.raises(ConfigError, match="--dry-run"):
        read(tmp_path, "--once", "--dry-run", program="gc")


@pytest.mark.parametrize(
    ("spelling", "name"),
    [(spelling, option.name) for option in OPTIONS.values() for spelling in option.spellings],
)
def test_every_option_may_be_given_without_its_unit_and_in_every_place(
    tmp_path: Path, spelling: str, name: str
) -> None:
    value = _another_value(name)
    expected = {**_as_dict(Config()), name: value}
    if name in ("tls_cert", "tls_key"):
        expected |= {"tls_cert": value, "tls_key": value}
    other = {"tls_cert": "tls_key", "tls_key": "tls_cert"}.get(name)
    pairs = {spelling: value} | ({other: value} if other else {})
    toml = "\n".join(f"{k} = {_toml(v)}" for k, v in pairs.items())
    variables = {f"BLOBKEEP_{k.upper()}": _text(v) for k, v in pairs.items()}
    assert _as_dict(read(tmp_path, toml=toml)) == expected
    assert _as_dict(read(tmp_path, environment=variables)) == expected
    program = next(iter(OPTIONS[name].used_by & {"server"} or OPTIONS[name].used_by))
    flags = [
        f"--{k.replace('_', '-')}={_text(v)}"
        if v is not False and v is not True
        # A flag that is on by default is turned off by its opposite.
        else f"--{'' if v else 'no-'}{k.replace('_', '-')}"
        for k, v in pairs.items()
    ]
    assert _as_dict(read(tmp_path, *flags, program=program)) == expected


def _another_value(name: str) -> Any:
    option = OPTIONS[name]
    if name == "s3_path":
        return "/s3"
    if name in ("listen", "s3_listen"):
        return "127.0.0.1:1"
    if option.choices:
        return next(c for c in option.choices if c != option.default)
    if option.type is bool:
        return not option.default
    if option.is_table:
        return (("a/", 7.0), ("b=/", 60.0))
    return option.type(7)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{prefix}={number}" for prefix, number in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return "{" + ", ".join(f'"{prefix}" = {number}' for prefix, number in value) + "}"
    return f'"{value}"' if isinstance(value, str) else _text(value)


def _as_dict(options: Config) -> dict[str, Any]:
    return {f.name: getattr(options, f.name) for f in fields(options)}


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("1048576", 1 << 20),
        ("64 KiB", 64 << 10),
        ("64kib", 64 << 10),
        ("10 MB", 10_000_000),
        ("1.5 GB", 1_500_000_000),
        ("2GiB", 2 << 30),
        ("1 t", 10**12),
        ("3 B", 3),
    ],
)
def test_sizes_may_be_written_with_a_unit(tmp_path: Path, text: str, size_bytes: int) -> None:
    assert read(tmp_path, toml=f'max_blob_size = "{text}"').max_blob_size_bytes == size_bytes
    assert read(tmp_path, f"--max-blob-size={text}").max_blob_size_bytes == size_bytes


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("no_such_thing = 1", ["no_such_thing", "blobkeep.toml"]),
        ("[server]\nlisten = ':1'", ["server"]),
        ("once = true", ["once"]),
        ("max_uploads = '5'", ["max_uploads", "whole number"]),
        ("max_uploads = 5.0", ["max_uploads", "whole number"]),
        ("max_uploads = true", ["max_uploads", "whole number"]),
        ("max_uploads = 0", ["max_uploads", "above 0"]),
        ("max_uploads = -1", ["max_uploads", "-1"]),
        ("max_uploads = 9223372036854775808", ["max_uploads"]),
        ("put_creates = 'true'", ["put_creates", "true or false"]),
        ("put_creates = 1", ["put_creates", "true or false"]),
        ("gc_interval = nan", ["gc_interval", "nan", "seconds"]),
        ("gc_interval = inf", ["gc_interval", "inf"]),
        ("gc_interval = '5 x'", ["gc_interval", "5 x", "seconds"]),
        ("gc_interval = 0", ["gc_interval", "above 0"]),
        ("max_blob_size = '5 parsecs'", ["max_blob_size", "parsecs", "64 KiB"]),
        ("max_blob_size = '-5'", ["max_blob_size"]),
        ("max_blob_size = ''", ["max_blob_size"]),
        ("dir = 5", ["dir", "string"]),
        ("dir = ''", ["dir"]),
        ('dir = "a\\u0000b"', ["dir"]),
        ("id_bits = 24", ["id_bits", "16 or 32"]),
        ("sync = 'yes'", ["sync", "folder", "none"]),
        ("listen = 7777", ["listen"]),
        ("listen = 'localhost'", ["listen", "HOST:PORT"]),
        ("listen = '::1:7777'", ["listen", "HOST:PORT"]),
        ("listen = ':65536'", ["listen", "HOST:PORT"]),
        ("listen = 'a b:1'", ["listen", "HOST:PORT"]),
        ("s3_listen = 'a b:1'", ["s3_listen", "HOST:PORT"]),
        ("s3_path = 's3/'", ["s3_path", "/s3"]),
        ("header_timeout = 1\nheader_timeout_s = 2", ["header_timeout_s", "twice"]),
        ("tls_cert = 'cert.pem'", ["tls_cert", "tls_key"]),
        ("listen = \n", ["blobkeep.toml", "not TOML", "line 1"]),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, toml: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, toml=toml)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("BLOBKEEP_NO_SUCH", "1"),
        ("BLOBKEEP_MAX_UPLOADS", "many"),
        ("BLOBKEEP_PUT_CREATES", "perhaps"),
        ("BLOBKEEP_PORT", "8080"),
        ("BLOBKEEP_GC_INTERVAL", ""),
    ],
)
def test_a_mistake_in_the_environment_is_named(tmp_path: Path, variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        read(tmp_path, environment={variable: value})


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["--no-such"], "--no-such"),
        (["--max-uploads", "many"], "--max-uploads"),
        (["--dir"], "--dir"),
        (["--max-up", "3"], "--max-up"),
        (["stray"], "stray"),
        (["-s", "nowhere"], "nowhere"),
        (["--once"], "--once"),
    ],
)
def test_a_mistake_in_the_flags_is_named(tmp_path: Path, argv: list[str], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        read(tmp_path, *argv)


def test_variables_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    kubernetes = {
        "BLOBKEEP_SERVICE_HOST": "10.0.0.1",
        "BLOBKEEP_SERVICE_PORT": "7777",
        "BLOBKEEP_SERVICE_PORT_HTTP": "7777",
        "BLOBKEEP_PORT": "tcp://10.0.0.1:7777",
        "BLOBKEEP_PORT_7777_TCP_ADDR": "10.0.0.1",
    }
    assert read(tmp_path, environment={"PATH": "/bin", **kubernetes}) == Config()


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text("max_uploads = 5")
    assert load([], "server", {"BLOBKEEP_CONFIG": str(file)}).max_uploads == 5


def test_a_named_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml is not there"):
        load(["-c", str(tmp_path / "missing.toml")], "server", {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(["-c", str(tmp_path)], "server", {})


def test_no_file_is_needed_where_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "DEFAULT_FILE", tmp_path / "none.toml")
    assert load([], "server", {}) == Config()


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [
        ("0.0.0.0:7777", "0.0.0.0", 7777),
        (":80", "", 80),
        ("localhost:0", "localhost", 0),
        ("[::1]:7777", "::1", 7777),
        ("[fe80::1%eth0]:7777", "fe80::1%eth0", 7777),
        ("[::ffff:127.0.0.1]:1", "::ffff:127.0.0.1", 1),
    ],
)
def test_an_address_is_taken_apart(listen: str, host: str, port: int) -> None:
    assert host_and_port(listen) == (host, port)


def test_the_file_in_conf_is_the_generated_one() -> None:
    assert (ROOT / "conf" / "blobkeep.toml").read_text() == as_toml()


def test_the_file_in_conf_with_every_line_switched_on_is_the_defaults(tmp_path: Path) -> None:
    switched_on = "\n".join(
        line.removeprefix("# ")
        for line in as_toml().splitlines()
        if line.startswith("# ") and " = " in line and line[2:].split(" ")[0] in OPTIONS
    )
    assert tomllib.loads(switched_on).keys() == OPTIONS.keys()
    # An empty tls_cert and tls_key, as every other default, is what they are anyway.
    assert read(tmp_path, toml=switched_on) == Config()


@pytest.mark.parametrize("program", ["server", "gc", "recovery"])
def test_help_lists_every_option_of_the_program(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load(["--help"], program, {})
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for option in OPTIONS.values():
        flag = (option.flags or (f"--{option.name.replace('_', '-')}",))[-1]
        assert (flag in text) == (program in option.used_by)


def test_a_process_started_with_a_mistake_says_so_in_one_line_and_exits_with_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.gc", "--gc-interval", "soon"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "gc: --gc-interval-s: 'soon' is not a number of seconds, above 0, or a time such as \"7d\".\n"
    )
