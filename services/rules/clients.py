"""Which requests come from one client, for limits that each client has for itself. Pure."""

from __future__ import annotations

import ipaddress

_NETWORK_BITS = 64  # of IPv6: what one customer of a provider has at the least (RFC 6177)


def client_of(address: str) -> str:
    """Whom `address` stands for: an IPv4 address for itself, an IPv6 address for its network of 64 bits.

    Anyone with IPv6 has more addresses than a server can count. What is no IP address stands for itself.
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
