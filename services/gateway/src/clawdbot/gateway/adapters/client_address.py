"""Whose address a request comes from: the one place that decides it."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

NOWHERE = "local"
"""The other end of a socket that has no address."""
NETWORK_BITS = 64
"""What one customer has of IPv6 at the least, and can choose addresses from (RFC 6177)."""


def client_address(scope: Scope) -> str:
    """Return the client's IPv4 address, or the /64 network of its IPv6 address."""
    client = scope.get("client")
    return NOWHERE if not client else _grouped(client[0])


@lru_cache(4096)
def _grouped(host: str) -> str:
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return NOWHERE
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Network((int(found), NETWORK_BITS), strict=False))
