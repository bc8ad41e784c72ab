"""The options: flags over environment (`BLOBKEEP_...`) over the configuration file over defaults.

One table, `OPTIONS`, from which the flags, the file `conf/blobkeep.toml` and its documentation are made. The
unit is part of an option's name, and may be left out where it is given: `header_timeout` is
`header_timeout_s`. Sizes may be written as "64 MiB". What is unknown or ill-typed is refused by name.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from common.errors import ConfigError

EXIT_USAGE = 2
DEFAULT_FILE = Path(__file__).resolve().parent.parent / "conf" / "blobkeep.toml"
ENVIRONMENT_PREFIX = "BLOBKEEP_"
_UNITS = ("_bytes_per_s", "_mb_per_s", "_bytes", "_s")


@dataclass(frozen=True)
class Config:
    """Every option with its default. `dir` and `listen` have the short flags --dir and -s."""

    dir: str = "data"
    listen: str = "0.0.0.0:7777"
    debug: bool = False
    id_bits: int = 16
    sync: str = "folder"
    http: str = "tornado"
    put_creates: bool = False
    max_blob_size_bytes: int = 0
    min_free_space_bytes: int = 1 << 20
    small_body_bytes: int = 64 << 10
    max_connections: int = 4096
    max_uploads: int = 256
    max_target_bytes: int = 8 << 10
    max_header_bytes: int = 64 << 10
    header_timeout_s: float = 10.0
    idle_timeout_s: float = 75.0
    body_timeout_s: float = 60.0
    min_upload_rate_bytes_per_s: int = 1024
    min_upload_grace_s: float = 30.0
    drain_timeout_s: float = 8.0
    lock_wait_s: float = 10.0
    gc_interval_s: float = 5.0
    recovery_interval_s: float = 5.0
    scrub_rate_mb_per_s: float = 20.0
    auth_file: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    log_format: str = "text"
    access_log: bool = False
    once: bool = False  # a flag of the workers only
    dry_run: bool = False  # a flag of the recovery worker only


OPTIONS = {
    "dir": "The data directory.",
    "listen": "HOST:PORT to listen on; an IPv6 host stands in brackets.",
    "debug": "Log what is done in detail.",
    "id_bits": "Width of ids, 16 (65,536 blobs) or 32. A directory remembers its own.",
    "sync": '"folder": acknowledged means durable; "none": faster, but a power cut may lose writes.',
    "http": 'Which HTTP connection serves: "blobkeep" or "tornado".',
    "put_creates": "PUT of a location that is not there creates it (201), as caches and curl -T expect.",
    "max_blob_size_bytes": "Larger bodies are refused with 413; 0: the disk is the limit.",
    "min_free_space_bytes": "Uploads that would leave less than this on the disk are refused with 507.",
    "small_body_bytes": "Bodies up to this size are kept in memory until they are whole.",
    "max_connections": "Connections at once; one more gets 503.",
    "max_uploads": "Uploads at once; one more gets 503.",
    "max_target_bytes": "A longer request target gets 414.",
    "max_header_bytes": "A longer request head gets 431.",
    "header_timeout_s": "A request head must be there within this.",
    "idle_timeout_s": "A connection without a request is closed after this.",
    "body_timeout_s": "A body of which nothing comes for this long gets 408.",
    "min_upload_rate_bytes_per_s": "An upload slower than this, after the grace, gets 408.",
    "min_upload_grace_s": "How long an upload may be slower.",
    "drain_timeout_s": "After SIGTERM, requests under way may finish within this.",
    "lock_wait_s": "How long a starting server waits for one that is stopping.",
    "gc_interval_s": "From the begin of a gc pass to that of the next.",
    "recovery_interval_s": "From the begin of a recovery pass to that of the next.",
    "scrub_rate_mb_per_s": "How fast the recovery worker re-reads blobs, in MB (10^6 bytes) a second.",
    "auth_file": "File of hashed tokens and users, readable by its owner alone; empty: everyone may do all.",
    "tls_cert": "Certificate chain, PEM; with tls_key the server speaks TLS.",
    "tls_key": "Private key, PEM.",
    "log_format": '"text" or "json".',
    "access_log": "Log every request.",
}
_CHOICES: dict[str, tuple[object, ...]] = {
    "id_bits": (16, 32),
    "sync": ("folder", "none"),
    "http": ("blobkeep", "tornado"),
    "log_format": ("text", "json"),
}
_SHORT = {"dir": ("--dir",), "listen": ("-s", "--listen"), "debug": ("-D", "--debug")}
_SERVER_ONLY = frozenset(OPTIONS) - {"dir", "debug", "id_bits", "sync", "log_format"}
_TYPES: dict[str, type] = {f.name: type(f.default) for f in fields(Config)}


def load(argv: Sequence[str], program: str, environment: Mapping[str, str] = os.environ) -> Config:
    """The options of `program`: "server", "gc" or "recovery".

    Raises ConfigError; for --help and flags that are not there it exits, as programs do.
    """
    flags = vars(_parser(program).parse_args(argv))
    path = flags.pop("config")
    values: dict[str, Any] = {}
    values |= _from_file(Path(path) if path else DEFAULT_FILE, must_exist=path is not None)
    values |= _from_environment(environment)
    for name, value in flags.items():
        values[name] = _typed(name, value, "the flag --" + name.replace("_", "-"))
    return Config(**values)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m services.{program}", argument_default=argparse.SUPPRESS, allow_abbrev=False
    )
    parser.add_argument("-c", "--config", metavar="FILE", default=None, help="configuration file (TOML)")
    for name, help_text in OPTIONS.items():
        names = _SHORT.get(name) or tuple("--" + n.replace("_", "-") for n in _spellings(name))
        if _TYPES[name] is bool:
            parser.add_argument(*names, dest=name, action=argparse.BooleanOptionalAction, help=help_text)
        else:
            parser.add_argument(*names, dest=name, metavar="VALUE", help=help_text)
    if program in ("gc", "recovery"):
        parser.add_argument("--once", action="store_true", help="one pass over everything, then exit")
    if program == "recovery":
        parser.add_argument("--dry-run", action="store_true", help="with --once: change nothing")
    return parser


def _spellings(name: str) -> tuple[str, ...]:
    """An option's name, and that without its unit."""
    for unit in _UNITS:
        if name.endswith(unit):
            return name, name.removesuffix(unit)
    return (name,)


_BY_SPELLING = {spelling: name for name in OPTIONS for spelling in _spellings(name)}


def _from_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except OSError as err:
        if isinstance(err, FileNotFoundError) and not must_exist:
            return {}
        raise ConfigError(f"The configuration file {path} cannot be read: {err.strerror}.") from err
    try:
        table = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path} is not valid TOML: {err}.") from err
    return {
        _name(key, str(path)): _typed(_name(key, str(path)), value, f"{key} in {path}")
        for key, value in table.items()
    }


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for variable, value in environment.items():
        if variable.startswith(ENVIRONMENT_PREFIX):
            name = _name(variable.removeprefix(ENVIRONMENT_PREFIX).lower(), f"the environment ({variable})")
            values[name] = _typed(name, value, f"the environment variable {variable}")
    return values


def _name(spelling: str, source: str) -> str:
    if spelling not in _BY_SPELLING:
        raise ConfigError(
            f"Unknown option {spelling!r} in {source}: see conf/blobkeep.toml for all there are."
        )
    return _BY_SPELLING[spelling]


def _typed(name: str, value: Any, source: str) -> Any:
    """`value` as the option's type. Raises ConfigError, naming the option's source."""
    wanted = _TYPES[name]
    try:
        typed = _convert(name, value, wanted)
    except ValueError as err:
        raise ConfigError(f"{source}: {value!r} is not {err}.") from err
    choices = _CHOICES.get(name)
    if choices is not None and typed not in choices:
        raise ConfigError(f"{source}: {value!r} is not one of {', '.join(map(repr, choices))}.")
    return typed


def _convert(name: str, value: Any, wanted: type) -> Any:
    if wanted is bool:
        if isinstance(value, bool):
            return value
        words = {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }
        if isinstance(value, str) and value.lower() in words:
            return words[value.lower()]
        raise ValueError("true or false")
    if wanted is str:
        if isinstance(value, str):
            return value
        raise ValueError("a string")
    if isinstance(value, str) and "_bytes" in name:
        value = _bytes(value)
    if (
        isinstance(value, bool)
        or not isinstance(value, str | int | float)
        or (wanted is int and isinstance(value, float))
    ):
        raise ValueError("a number" if wanted is float else "a whole number")
    try:
        number = wanted(value)
    except ValueError:
        raise ValueError("a number" if wanted is float else "a whole number") from None
    if not 0 <= number < 1 << 62:
        raise ValueError("a number from 0 up")
    return number


_SUFFIXES = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 1 << 10,
    "mi": 1 << 20,
    "gi": 1 << 30,
    "ti": 1 << 40,
}


def _bytes(text: str) -> int:
    match = re.fullmatch(r"\s*(\d+)\s*(|[kmgt]i?)b?\s*", text.lower())
    if match is None:
        raise ValueError('a number of bytes, such as 1048576 or "1 MiB"')
    return int(match[1]) * _SUFFIXES[match[2]]


def host_and_port(listen: str) -> tuple[str, int]:
    """HOST and PORT of `listen`; an empty host is every address. Raises ConfigError."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"listen: {listen!r} is not HOST:PORT.")
    return host.strip("[]"), int(port)


def as_toml() -> str:
    """The content of conf/blobkeep.toml: every option, commented out, at its default."""
    lines = [
        "# Blobkeep's options, each at its default. A flag or BLOBKEEP_<OPTION> in the environment wins.",
        "",
    ]
    defaults = Config()
    for name, help_text in OPTIONS.items():
        default = getattr(defaults, name)
        text = (
            str(default).lower()
            if isinstance(default, bool)
            else f'"{default}"'
            if isinstance(default, str)
            else str(default)
        )
        lines += [f"# {help_text}", f"# {name} = {text}", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(as_toml())
