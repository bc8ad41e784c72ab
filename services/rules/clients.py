"""Which requests come from one client, for limits by client. Pure."""

from __future__ import annotations

import ipaddress

_NETWORK_BITS = 64  # of IPv6: what one customer of a provider has at least (RFC 6177)


def client_of(address: str) -> str:
    """The client of `address`: an IPv4 address is one client, and so is an IPv6 network of 64 bits.

    A client with IPv6 has more addresses than a server can count. Any other text is a client of its own.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, _NETWORK_BITS), strict=False))
