"""Tar files of millions of members in bounded memory."""

from __future__ import annotations

import tarfile


class Tar(tarfile.TarFile):
    """A tar file that need not remember every member it has written or read."""

    members: list[tarfile.TarInfo]

    def forget(self) -> None:
        """Forget the members so far: else their headers, some KiB a blob, stay in memory to the end."""
        self.members.clear()
