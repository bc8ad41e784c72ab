"""The table of options as text: conf/blobkeep.toml, and values as people write them. Pure."""

from __future__ import annotations

from common.options import KIB, MIB, OPTIONS


def as_toml() -> str:
    """The content of conf/blobkeep.toml: every option, commented out at its default, with its unit."""
    lines = [
        "# Blobkeep's options, each commented out at its default. All processes read this file.",
        "# A flag (--max-uploads 9) wins over the environment (BLOBKEEP_MAX_UPLOADS=9), that over this file.",
        '# The unit may be left out of a name (gc_interval); a size may be written as "64 KiB" or "1.5 GB",',
        '# a time as "7d", "12h", "30m" or "10s".',
        "# Relative paths start from the folder that a process is started in.",
        "# Made by: blobkeep config > conf/blobkeep.toml",
    ]
    group = ""
    for option in OPTIONS.values():
        if option.group != group:
            group = option.group
            lines += ["", "", f"# --- {group} ---"]
        lines += ["", f"# {option.text}"]
        if option.unit:
            size = f" ({size_text(option.default)})" if option.is_size and option.default else ""
            lines += [f"# Unit: {option.unit}{size}."]
        lines += [f"# {option.name} = {toml_value(option.default)}"]
    return "\n".join(lines) + "\n"


def toml_value(value: bool | int | float | str | tuple[()]) -> str:
    """`value` as TOML writes it; of a table only the empty one."""
    if isinstance(value, tuple):
        return "{}"
    if isinstance(value, bool):
        return str(value).lower()
    return (
        f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
    )


def size_text(size_bytes: int) -> str:
    """A size above 0 for people: in the largest binary unit that divides it."""
    for unit, name in ((1 << 30, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size_bytes % unit == 0:
            return f"{size_bytes // unit} {name}"
    return f"{size_bytes} bytes"
