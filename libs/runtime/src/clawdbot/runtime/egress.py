"""Where we may connect when somebody else says where: the guard against request forgery (SSRF).

An address is checked after it was resolved, and what was checked is what is connected to: a name
that resolves to something else the second time gains nothing. Whatever is not a globally routable
unicast address is refused, and so is a name that has one such address among others.

Sources: IANA IPv4 and IPv6 Special-Purpose Address Registries; RFC 6052 (NAT64), RFC 4291 (mapped),
RFC 3056 and 4380 (6to4 and Teredo, refused whole), RFC 3986 (URI), OWASP SSRF Prevention.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from urllib.parse import quote

from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Forbidden, InvalidMessage, Unavailable

IPAddress = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a name, as text."""

MAX_URL_CHARS = 4096
MAX_ADDRESSES = 16
DEFAULT_PORTS = {"https": 443, "http": 80}
NAT64 = IPv6Network("64:ff9b::/96")
GLOBAL_V6 = IPv6Network("2000::/3")
SPECIAL_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
SPECIAL_V6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
"""Within the global range; 2001::/23 holds Teredo, benchmarking and ORCHID."""

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?"
    r"(?P<target>[/?][^#]*)?(#.*)?",
    re.IGNORECASE | re.DOTALL,
)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label like this makes resolvers read the host as an IPv4 address (WHATWG URL)."""
_SAFE = "".join(map(chr, range(0x21, 0x7F)))
_HOST_AND_PORT = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")


class EgressRefused(Forbidden):
    """The guard does not let us go there."""


@dataclass(frozen=True)
class Origin:
    """What credentials are for, and what an exception names."""

    scheme: str
    host: str
    """Lower case, without a dot at the end; an IPv6 address without brackets."""
    port: int

    @property
    def netloc(self) -> str:
        """Host and port, as an exception of the configuration names them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Place:
    """An address that was read strictly, so that nobody after us reads it otherwise."""

    origin: Origin
    target: str = field(repr=False)
    """Path and query, percent-encoded."""

    @classmethod
    def of(cls, url: str) -> Place:
        """Return the place that `url` names.

        Raises:
            InvalidMessage: it is not a plain http or https address: it holds a user, a backslash,
                white space, or a host that can be read in more than one way.
        """
        match = None if len(url) > MAX_URL_CHARS or _is_odd(url) else _URL.fullmatch(url)
        if match is None:
            raise _unusable()
        scheme = match["scheme"].lower()
        port = int(match["port"]) if match["port"] else DEFAULT_PORTS[scheme]
        if not 0 < port < 65536:
            raise _unusable()
        target = match["target"] or "/"
        target = target if target.startswith("/") else f"/{target}"
        return cls(Origin(scheme, _host(match["host"]), port), quote(target, safe=_SAFE))

    @property
    def host_header(self) -> str:
        """Host, and port unless it is the scheme's own (RFC 9110 section 7.2)."""
        host, port = self.origin.host, self.origin.port
        host = f"[{host}]" if ":" in host else host
        return host if port == DEFAULT_PORTS[self.origin.scheme] else f"{host}:{port}"

    @property
    def root(self) -> str:
        """The address without path and query."""
        return f"{self.origin.scheme}://{self.host_header}"

    @property
    def url(self) -> str:
        """The address, written the one way."""
        return f"{self.root}{self.target}"


class EgressGuard:
    """Decides where we may connect.

    Args:
        allowed_hosts: exact `host:port`, which may have any address, any port and plain HTTP.
        resolve: stands in for the system's resolver in tests.
    """

    def __init__(self, allowed_hosts: Iterable[str] = (), resolve: Resolve | None = None) -> None:
        self._allowed = frozenset(map(_exception, allowed_hosts))
        self._resolve = resolve or system_addresses

    def admit(self, place: Place, *, trusted: Origin | None = None) -> None:
        """Pass when scheme and port of `place` are ones that we use.

        Args:
            place: where somebody wants us to go.
            trusted: an origin that the operator configured; nothing is asked of it.

        Raises:
            EgressRefused: they are not.
        """
        origin = place.origin
        if origin == trusted or origin.netloc in self._allowed:
            return
        if origin.scheme != "https" or origin.port != DEFAULT_PORTS["https"]:
            raise EgressRefused("only https at its usual port is fetched")

    async def addresses(
        self, host: str, port: int, *, deadline: Deadline, trusted: Origin | None = None
    ) -> tuple[IPAddress, ...]:
        """Return what `host` resolves to, once all of it was checked; connect to these alone.

        Raises:
            EgressRefused: one of them is not globally routable.
            Unavailable: there is no such name, or the resolver does not answer.
        """
        found = await self._resolved(host, port, deadline)
        is_trusted = trusted is not None and (trusted.host, trusted.port) == (host, port)
        netloc = Origin("", host, port).netloc
        if not is_trusted and netloc not in self._allowed and not all(map(is_global, found)):
            # Which one it was would tell the asker what our network looks like.
            raise EgressRefused("this host is not on the public internet")
        return found[:MAX_ADDRESSES]

    async def _resolved(self, host: str, port: int, deadline: Deadline) -> tuple[IPAddress, ...]:
        literal = _literal(host)
        if literal is not None:
            return (literal,)
        try:
            async with deadline.guard("a name was not resolved in time"):
                texts = await self._resolve(host, port)
            found = tuple(ip_address(text) for text in dict.fromkeys(texts))
        except (OSError, UnicodeError, ValueError) as exc:
            raise Unavailable(f"a host cannot be resolved: {type(exc).__name__}") from exc
        if not found:
            raise Unavailable("a host has no address")
        return found


async def system_addresses(host: str, port: int) -> Sequence[str]:
    """Return what the system's resolver gives for `host`."""
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in infos]


def is_global(address: IPAddress) -> bool:
    """Return whether `address` is a globally routable unicast address, whatever it embeds."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in SPECIAL_V4)
    if address.scope_id is not None:
        return False
    if address.ipv4_mapped is not None:
        return is_global(address.ipv4_mapped)
    if address in NAT64:
        return is_global(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in GLOBAL_V6 and not any(address in network for network in SPECIAL_V6)


def origin_of(url: str) -> Origin:
    """Return the origin of an address that the operator configured; raises as `Place.of`."""
    return Place.of(url).origin


def _is_odd(url: str) -> bool:
    return any(
        character <= " " or character in "\\\x7f" or 0xD800 <= ord(character) < 0xE000
        for character in url
    )


def _host(text: str) -> str:
    host = text.lower()
    if host.startswith("["):
        literal = _literal(host[1:-1])
        if not isinstance(literal, IPv6Address):
            raise _unusable()
        return str(literal)
    host = host.removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise _unusable()
    # 0177.1, 0x7f000001 and 2130706433 are all 127.0.0.1 to some; we take one spelling.
    if _NUMBER.fullmatch(labels[-1]) and str(_literal(host)) != host:
        raise _unusable()
    return host


def _literal(host: str) -> IPAddress | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _exception(entry: str) -> str:
    match = _HOST_AND_PORT.fullmatch(entry)
    if match is None:
        raise InvalidMessage(f"{entry!r} is not host:port", field="egress_allowed_hosts")
    return Origin("", _host(match["host"]), int(match["port"])).netloc


def _unusable() -> InvalidMessage:
    return InvalidMessage(
        "the address of a file cannot be used",
        field="url",
        fix="send a plain https address without a user, its host in ASCII",
    )
