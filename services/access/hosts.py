"""Under which host names the server answers: the defence against DNS rebinding.

A hostile page can make its own host name point to this machine. A browser then takes a server on this machine
for the page's origin, so the page may read and write what the browser can reach. Tokens keep it out. A server
without tokens that listens only on the loopback address has only the Host field to judge by: a browser always
sends the true name in it.
"""

from __future__ import annotations

import ipaddress

from common.errors import Misdirected

ANY = "*"
_MAX_REMEMBERED = 1000


class HostNames:
    """`given`: the option `hosts`, names separated by commas: `blobs.example.org`, `*.example.org`, `*`.

    With `guards` false, or `*` given, every name is allowed. Else the given ones are, and those that nobody
    can make point here: `localhost`, names under it, and addresses. A missing name is allowed, too
    (HTTP/1.0).
    """

    def __init__(self, given: str = "", *, guards: bool = False) -> None:
        names = [name.strip().lower().rstrip(".") for name in given.split(",")]
        self._names = frozenset(name for name in names if name and not name.startswith("*."))
        self._endings = (".localhost", *(name[1:] for name in names if name.startswith("*.")))
        self.guards = guards and ANY not in self._names
        self.known: dict[str, bool] = {}  # what was asked for before

    def allows(self, host: str | None) -> bool:
        """Whether a request with this Host field is answered."""
        if not self.guards or not host:
            return True
        known = self.known.get(host)
        if known is None:
            if len(self.known) >= _MAX_REMEMBERED:
                self.known.clear()
            known = self.known[host] = self._judge(host)
        return known

    def check(self, host: str | None) -> None:
        """Raise Misdirected unless it is."""
        if not self.allows(host):
            name = _without_port(str(host))[:255]
            raise Misdirected(
                f"This server does not answer to the name {name}, since it asks nobody for a token: add the "
                "name to the option hosts, or set auth_file."
            )

    def _judge(self, host: str) -> bool:
        name = _without_port(host).lower().rstrip(".")
        if name == "localhost" or name in self._names or name.endswith(self._endings):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _without_port(host: str) -> str:
    """The name or address in a Host field, without brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
