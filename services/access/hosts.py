"""Under which host names the server answers: the defence against DNS rebinding.

A hostile page can give its own name the address of this machine. It is then of the same origin as a server on
this machine, so it may read and write what a browser here can reach. Tokens keep it out. A server without
tokens, which therefore listens on the loopback address alone, has only the Host field to judge by: a browser
always sends the true name in it.
"""

from __future__ import annotations

import ipaddress

from common.errors import Misdirected

ANY = "*"
_MAX_REMEMBERED = 1000


class HostNames:
    """`given`: the option `hosts`, names separated by commas: `blobs.example.org`, `*.example.org`, `*`.

    With `guards` false, or `*` given, every name is allowed. Else the given ones are, and what nobody can
    make point here: `localhost` and names under it, and addresses as such. So is no name at all (HTTP/1.0).
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
