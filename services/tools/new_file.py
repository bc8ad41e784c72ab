"""Files that commands write: each is complete, or not there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import TypeVar

from common import durable

T = TypeVar("T")


def write_new_file(path: str, write: Callable[[int], T]) -> T:
    """Let `write` fill a new file, given its descriptor; returns what that returns.

    It gets its name only when it is complete and durable; one of that name is replaced. After an error
    before that nothing is left. Raises OSError, and what `write` raises.
    """
    # A random name: in a folder of many users, a name that can be guessed may be another's file.
    part = f"{path}.{secrets.token_hex(8)}.part"
    fd = durable.create_file(part)
    try:
        done = write(fd)
        durable.sync_file(fd)
        durable.rename(part, path)
    except BaseException:
        durable.remove_file(part)
        raise
    finally:
        os.close(fd)
    durable.sync_folder(os.path.dirname(os.path.abspath(path)))
    return done
