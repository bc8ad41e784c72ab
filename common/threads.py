"""Threads that do whatever is submitted to them, however few the system gives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor


class Threads(ThreadPoolExecutor):
    """At most `most` threads, named after `name`. The first is there from the beginning, others come as they
    are needed.

    A plain ThreadPoolExecutor raises where the system gives no further thread (a limit of processes, no
    memory), and yet it has the step in its queue. So the step is done later, when its caller has given up the
    memory and the descriptors that it uses, and others have them.
    """

    def __init__(self, most: int, name: str) -> None:
        """Raises RuntimeError where the system gives no thread at all."""
        super().__init__(most, name)
        self.submit(int)

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except (RuntimeError, MemoryError):
            if not self._threads:  # else one of these does the step
                raise
