"""Makes docs/options.md from the options: `python -m common.options_reference > docs/options.md`."""

from __future__ import annotations

import sys

from common.config import flags_of
from common.options import ALL, OPTIONS, Option
from common.options_file import size_text, toml_value

_TOP = """# Every option

Made from `common/options.py` by `python -m common.options_reference > docs/options.md`. A test compares
them.

The value of an option comes from the first of these that gives it:

1. a flag: `--max-uploads 9`
2. the environment: `BLOBKEEP_MAX_UPLOADS=9`
3. the configuration file: `max_uploads = 9`
4. the default

The file is `conf/blobkeep.toml`, or the one that `-c FILE` or `BLOBKEEP_CONFIG` names. All processes and
tools read it. An option that is unknown, has a wrong type or is given twice stops the start, with its name.
The unit may be left out of a name (`gc_interval`). A size may be written as `"64 KiB"` or `"1.5 GB"`, a time
as `"7d"`, `"12h"`, `"30m"` or `"10s"`.

A change takes effect when the process is restarted (`blobkeep ctl restart server`). The files that
`auth_file`, `tls_cert` and `tls_key` name are read again on SIGHUP.

The options of an engine have no effect while another engine is chosen.

The workers also take two flags: `--once` makes one pass and exits; `--dry-run` (recovery) changes nothing.
"""


def as_markdown() -> str:
    """The content of docs/options.md."""
    parts = [_TOP]
    group = ""
    for option in OPTIONS.values():
        if option.group != group:
            group = option.group
            parts.append(f"## {group}\n")
        parts.append(_section(option))
    return "\n".join(parts)


def _section(option: Option) -> str:
    default = f"`{toml_value(option.default)}`"
    if option.is_size and option.default:
        default += f" ({size_text(option.default)})"
    facts = [f"default {default}"]
    if option.unit:
        facts.append(f"in {option.unit}")
    if option.choices:
        facts.append("one of " + ", ".join(f"`{toml_value(choice)}`" for choice in option.choices))
    flags = ", ".join(f"`{flag}`" for flag in flags_of(option))
    users = "all" if option.used_by == ALL else " and ".join(sorted(option.used_by))
    text = option.text.replace("|", "\\|")
    if option.old_name:
        text += f" Its old name `{option.old_name}` still works, but will go."
    return f"### `{option.name}`\n\n{text}\n\n{_upper('; '.join(facts))}. Flag: {flags} (of {users}).\n"


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
