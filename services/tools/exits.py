"""The exit statuses of every command, and the error that carries one."""

from __future__ import annotations

from common.errors import BlobkeepError

OK = 0
NOT_WELL = 1  # damage was found, or something was not done: the text says what
USAGE = 2  # a wrong argument, option or directory; nothing was done
NOT_THERE = 3  # no such blob, location or file
IN_USE = 4  # another process must finish first; nothing was done
REFUSED = 5  # the server, or the disk, refused; the text says why
INTERRUPTED = 130  # Ctrl-C
PIPE_CLOSED = 141  # the reader of our output has left, as `head` does

TEXT = """exit status:
  0   done, and all is well
  1   damage found, or something could not be done: the text says what
  2   wrong argument, option or directory; nothing was done
  3   there is no such blob, location or file
  4   another process must finish first; nothing was done
  5   the server or the disk refused
  130 interrupted by Ctrl-C"""


class CommandFailed(BlobkeepError):
    """Why a command ends early; `status` is its exit status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
