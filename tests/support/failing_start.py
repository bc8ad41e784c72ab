"""`python -m tests.support.failing_start MODULE:NAME ERROR ...`: a server in which one step raises an error.

ERROR: a number is that of an OSError, anything else the text of a RuntimeError.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import NoReturn

from services import server


def failing(error: str) -> object:
    """A callable that raises."""

    def fail(*_: object, **__: object) -> NoReturn:
        if error.isdigit():
            raise OSError(int(error), os.strerror(int(error)))
        raise RuntimeError(error)

    return fail


if __name__ == "__main__":
    place, error, *flags = sys.argv[1:]
    module, _, name = place.partition(":")
    *outer, last = name.split(".")
    holder: object = importlib.import_module(module)
    for part in outer:
        holder = getattr(holder, part)
    assert hasattr(holder, last), f"{place} has moved"
    setattr(holder, last, failing(error))
    sys.exit(server.main(flags))
