"""Who may do what, in a reader process: what its server told it, for as long as that is true."""

from __future__ import annotations

from collections.abc import Sequence

from services.access.decisions import Access, Action, Client, Role
from services.access.secret_hash import NoSecret
from services.engine import Shared
from services.readers.messages import KnownClient


class ToldAccess(Access):
    """Access without an access file. It permits only clients that it knows; the server judges the others.

    `public`: see Access. All that it knows becomes void in the moment in which the server's rules change.
    """

    def __init__(self, public: Sequence[str]) -> None:
        super().__init__((), public)
        self._shared: Shared | None = None
        self._as_of = 0  # Shared.rights, when the first of those we know was told

    def begin(self, shared: Shared, *, is_open: bool) -> None:
        """Another server tells us from now on."""
        self._shared = shared
        self._as_of = shared.rights
        self.replace(None if is_open else ())

    def permits(self, action: Action, location: str, authorization: str | None) -> bool:
        """See Access."""
        self._forget_old()
        return super().permits(action, location, authorization)

    def learn(self, authorization: str, client: KnownClient, rights: int) -> None:
        """Remember whose header this is, as the server said by the rules of `rights`."""
        self._forget_old()
        if rights == self._as_of:
            self.remember(authorization, Client(client.name, Role(client.role), client.prefix, NoSecret()))

    def _forget_old(self) -> None:
        if self._shared is not None and self._shared.rights != self._as_of:
            self._as_of = self._shared.rights
            if not self.is_open:
                self.replace(())
