"""Reads the options: flags over environment (`BLOBKEEP_<OPTION>`) over the configuration file over defaults.

An option that is unknown, has a wrong type or is given twice is refused, with the flag, variable or file.
The table of options is `common/options.py`; `blobkeep config` prints conf/blobkeep.toml.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from common.errors import ConfigError
from common.options import OPTIONS, Config, Option
from common.options_file import as_toml
from common.process import SUPERVISOR_PID, usable_cpus

__all__ = [
    "EXIT_USAGE",
    "Config",
    "add_flag",
    "check_flags",
    "flags_of",
    "host_and_port",
    "into_environment",
    "load",
    "reader_count",
    "url",
]

EXIT_USAGE = 2
_HOME = Path(__file__).resolve().parent.parent
_IS_CHECKOUT = (_HOME / "pyproject.toml").exists()
DEFAULT_FILE = _HOME / "conf" / "blobkeep.toml" if _IS_CHECKOUT else Path("/etc/blobkeep/blobkeep.toml")
_PREFIX = "BLOBKEEP_"
_FILE_VARIABLE = "BLOBKEEP_CONFIG"
# Kubernetes gives every container of a namespace such variables for a service called "blobkeep".
_NOT_OURS = re.compile(r"BLOBKEEP_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_\d+_.*)")
_BY_SPELLING = {spelling: option for option in OPTIONS.values() for spelling in option.spellings}

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(|[kmgt]i?)b?")
_SIZE_FACTORS = {
    "": 1,
    **{letter: 1000**power for power, letter in enumerate("kmgt", start=1)},
    **{f"{letter}i": 1024**power for power, letter in enumerate("kmgt", start=1)},
}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_TIME_FACTORS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_TOO_LARGE = 1 << 62  # twice that does not fit what the kernel takes for sizes
_TRUTH = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def load(argv: Sequence[str], program: str, environment: Mapping[str, str] = os.environ) -> Config:
    """The options of `program` ("server", "reader", "gc" or "recovery"), started with the arguments `argv`.

    Raises ConfigError, one sentence that names the option and where it was given. For --help it exits.
    """
    flags = vars(_parser(program).parse_args(argv))
    given_file = flags.pop("config", None) or environment.get(_FILE_VARIABLE)
    values = _from_file(Path(given_file) if given_file else DEFAULT_FILE, must_exist=bool(given_file))
    values |= _from_environment(environment)
    for name, value in flags.items():
        option = OPTIONS.get(name)
        values[name] = value if option is None else _typed(option, value, _flag(name), is_text=True)
    config = Config(**values)
    host_and_port(config.listen)
    if config.s3_listen:
        host_and_port(config.s3_listen, "s3_listen")
    if config.s3_path and not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)+", config.s3_path):
        raise ConfigError(f"s3_path: {config.s3_path!r} is not a path such as /s3.")
    if bool(config.tls_cert) != bool(config.tls_key):
        raise ConfigError("tls_cert and tls_key go together: give both, or neither.")
    return config


def keeps_index(config: Config) -> bool:
    """Whether there is an index: it needs the journal, which is its log."""
    return config.index and config.sync == "journal"


def reader_count(config: Config, *, is_supervised: bool | None = None) -> int:
    """How many reader processes there are: 0 if they could not answer as the server does.

    `is_supervised`: whether supervisord runs the server, and can run readers, too; None: find out for this
    process.
    """
    if config.engine != "local" or config.http != "blobkeep" or not config.fast_path:
        return 0
    if config.readers >= 0:
        return config.readers
    if is_supervised is None:
        is_supervised = SUPERVISOR_PID in os.environ
    return min(max(OPTIONS["readers"].choices), usable_cpus() - 1) if is_supervised else 0


def host_and_port(listen: str, name: str = "listen") -> tuple[str, int]:
    """Host and port of the option `name`; an empty host is every address. Raises ConfigError."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+(?:%\w+)?)\]|([^:\[\]\s]*)):(\d{1,5})", listen, re.ASCII)
    if match is None or int(match[3]) > 65535:
        raise ConfigError(f"{name}: {listen!r} is not HOST:PORT, such as 0.0.0.0:7777 or [::1]:7777.")
    return match[1] or match[2] or "", int(match[3])


def url(host: str, port: int, *, secure: bool) -> str:
    """The URL host for a browser on this machine to reach a server on `host` (empty: everywhere)."""
    reached = "localhost" if host in ("", "0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"{'https' if secure else 'http'}://{reached}:{port}"


class _Parser(argparse.ArgumentParser):
    """One that raises instead of writing its usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}: {self.prog} --help lists every flag.")


def _parser(program: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"python -m services.{program}",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        description=f"Blobkeep's {program} process. Every option may also stand in the configuration file, "
        f"or in the environment as {_PREFIX}<OPTION>.",
    )
    parser.add_argument(
        "-c", "--config", metavar="FILE", help=f"configuration file, TOML (default: {DEFAULT_FILE})"
    )
    for option in OPTIONS.values():
        if program in option.used_by:
            add_flag(parser, option)
    if program in ("gc", "recovery"):
        parser.add_argument("--once", action="store_true", help="one pass over everything, then exit")
    if program == "recovery":
        parser.add_argument("--dry-run", action="store_true", help="with --once: change nothing")
    return parser


def add_flag(parser: argparse._ActionsContainer, option: Option) -> None:
    """Add the flag of `option`. Where the flag is not given, the parsed result has no such value."""
    about: dict[str, Any] = {"dest": option.name, "help": option.text.replace("%", "%%")}
    if option.type is bool:
        about["action"] = argparse.BooleanOptionalAction
    else:
        about["metavar"] = (option.unit or option.name).split()[0].upper()
    parser.add_argument(*flags_of(option), default=argparse.SUPPRESS, **about)


def flags_of(option: Option) -> tuple[str, ...]:
    """Every flag that sets it."""
    return option.flags or tuple(map(_flag, option.spellings))


def _flag(spelling: str) -> str:
    return f"--{spelling.replace('_', '-')}"


def check_flags(flags: Mapping[str, Any]) -> None:
    """Raise ConfigError, which names the flag, where the value of one is wrong. None: not given."""
    for name, value in flags.items():
        if value is not None and name in OPTIONS:
            _typed(OPTIONS[name], value, _flag(name), is_text=True)


def into_environment(flags: Mapping[str, Any]) -> None:
    """Hand options on to processes that will be started: by name, `config` for the file. None: not given."""
    for name, value in flags.items():
        if value is None:
            continue
        option = OPTIONS.get(name)
        for spelling in option.spellings if option is not None else ():
            os.environ.pop(_PREFIX + spelling.upper(), None)
        os.environ[_PREFIX + name.upper()] = str(value).lower() if isinstance(value, bool) else str(value)


def _from_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError as err:
        if must_exist:
            raise ConfigError(f"The configuration file {path} is not there.") from err
        return {}
    except OSError as err:
        raise ConfigError(f"The configuration file {path} cannot be read: {err.strerror}.") from err
    except ValueError as err:  # what tomllib and decode() raise
        raise ConfigError(f"The configuration file {path} is not TOML: {err}.") from err
    return _named(((key, value, f"{key} in {path}") for key, value in table.items()), is_text=False)


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    given = (
        (variable.removeprefix(_PREFIX).lower(), value, f"the environment variable {variable}")
        for variable, value in sorted(environment.items())
        if variable.startswith(_PREFIX)
        and variable != _FILE_VARIABLE
        and not _is_of_kubernetes(variable, value)
    )
    return _named(given, is_text=True)


def _is_of_kubernetes(variable: str, value: str) -> bool:
    return bool(_NOT_OURS.fullmatch(variable)) or (variable == "BLOBKEEP_PORT" and "://" in value)


def _named(given: Iterable[tuple[str, Any, str]], *, is_text: bool) -> dict[str, Any]:
    """Options by name, from (spelling, value, the place where it was given)."""
    values: dict[str, Any] = {}
    for spelling, value, place in given:
        option = _BY_SPELLING.get(spelling)
        if option is None:
            raise ConfigError(f"Unknown option {place}: `blobkeep config` lists all there are.")
        if option.name in values:
            raise ConfigError(f"{place}: {option.name} is given twice, under two names.")
        values[option.name] = _typed(option, value, place, is_text=is_text)
    return values


def _typed(option: Option, value: Any, place: str, *, is_text: bool) -> Any:
    """`value` as the option's type. `place`: where it was given, for the error. `is_text`: it is a flag or
    variable, which can only be a string.

    Raises ConfigError.
    """
    try:
        if option.is_table and isinstance(value, dict):
            return _table(option, value)
        if isinstance(value, str) and (is_text or option.is_size or option.is_time):
            value = _parse(option, value.strip())
        return _checked(option, value)
    except (ValueError, ArithmeticError):
        raise ConfigError(f"{place}: {value!r} is not {_wanted(option)}.") from None


def _parse(option: Option, text: str) -> Any:
    """What `text` says, as the option's type. Raises ValueError."""
    if option.is_table:
        pairs = [pair.rpartition("=") for pair in text.split(",") if pair.strip()]
        return _table(option, {prefix.strip(): value.strip() for prefix, _, value in pairs})
    return _number(option, text)


def _table(option: Option, given: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The pairs of a table, by their prefixes. Raises ValueError."""
    values = {
        prefix: _number(option, value) if isinstance(value, str) else value for prefix, value in given.items()
    }
    for prefix, value in values.items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not prefix or not is_number or not 0 < value < _TOO_LARGE:
            raise ValueError
    return tuple(sorted((prefix, float(value)) for prefix, value in values.items()))


def _number(option: Option, text: str) -> Any:
    """One value that `text` says. Raises ValueError."""
    if option.type is bool:
        return _TRUTH.get(text.lower(), text)
    if option.is_size and (match := _SIZE.fullmatch(text.lower())):
        return int(Decimal(match[1]) * _SIZE_FACTORS[match[2]])
    if option.is_time and (match := _TIME.fullmatch(text.lower())):
        return float(match[1]) * _TIME_FACTORS[match[2]]
    return float(text) if option.is_table else option.type(text)


def _checked(option: Option, value: Any) -> Any:
    """`value`, which must be of the option's type and among its values. Raises ValueError."""
    if option.type is float and type(value) is int:
        value = float(value)
    if option.type is not type(value):  # exactly: a bool is an int to Python, not to us
        raise ValueError
    if option.choices and value not in option.choices:
        raise ValueError
    if option.positive and not value:
        raise ValueError
    if isinstance(value, str) and "\0" in value:
        raise ValueError
    if not option.choices and isinstance(value, (int, float)) and not 0 <= value < _TOO_LARGE:  # or nan
        raise ValueError
    return value


def _wanted(option: Option) -> str:
    """What the option's value should be, as the end of a sentence."""
    if option.choices:
        return " or ".join(f'"{c}"' if isinstance(c, str) else str(c) for c in option.choices)
    if option.type is bool:
        return "true or false"
    if option.is_table:
        return 'a table of prefixes, such as {"ccache/" = "30d"}'
    if option.type is str:
        return "a string" + (" with something in it" if option.positive else "")
    kind = "a whole number" if option.type is int else "a number"
    unit = f" of {option.unit}" if option.unit else ""
    range_text = "above 0" if option.positive else "from 0 up"
    also = ', or a size such as "64 KiB"' if option.is_size else ""
    also = ', or a time such as "7d"' if option.is_time else also
    return f"{kind}{unit}, {range_text}{also}"


if __name__ == "__main__":
    sys.stdout.write(as_toml())
