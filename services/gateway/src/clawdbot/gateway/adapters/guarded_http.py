"""Fetching what somebody else named: every hop checked, every byte counted, nothing decoded.

Connections are made to the very addresses that `EgressGuard` checked, each time anew; TLS still
proves the host's name. Redirects are followed by hand, proxies of the environment are not used, and
headers that were meant for one origin never reach another.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

import httpcore
import httpx

from clawdbot.gateway.adapters.http_errors import error_of_status
from clawdbot.gateway.domain.files import OpenFile
from clawdbot.runtime.egress import EgressGuard, EgressRefused, Origin, Place, origin_of
from clawdbot.schema import blobs
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import (
    ClawdbotError,
    Forbidden,
    InvalidMessage,
    NotFound,
    Rejected,
    Retryable,
    TooLarge,
    Unavailable,
)

MAX_REDIRECTS = 3
CONNECT_TIMEOUT_S = 5.0
REDIRECTS = frozenset({301, 302, 303, 307, 308})
USER_AGENT = "clawdbot-gateway"
PLAIN = {"Accept": "*/*", "Accept-Encoding": "identity"}
TOO_SLOW = "a file did not arrive in time"
FAILURES = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError)
MEDIA_TYPE = re.compile(blobs.MEDIA_TYPE)


@dataclass(frozen=True)
class FileRequest:
    """A file somewhere else."""

    url: str = field(repr=False)
    """May hold a token."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent to the origin of `url` alone."""
    hosts: frozenset[str] = frozenset()
    """The only hosts that this may lead to; empty means any public one."""
    trusted: Origin | None = None
    """An origin that the operator configured, which may be private and plain."""

    @classmethod
    def below(
        cls, base_url: str, path: str, headers: Mapping[str, str] | None = None
    ) -> FileRequest:
        """Return a request that stays with the API that the operator configured.

        Raises:
            InvalidMessage: `base_url` is not a plain http or https address.
        """
        origin = origin_of(base_url)
        url = f"{base_url.rstrip('/')}{path}"
        return cls(url, headers or {}, frozenset({origin.host}), origin)

    @classmethod
    def at(
        cls, url: str, hosts: frozenset[str], api: str, headers: Mapping[str, str] | None = None
    ) -> FileRequest:
        """Return a request for what a platform named, at one of its hosts or at its API's.

        Raises:
            InvalidMessage: `api` is not a plain http or https address.
        """
        origin = origin_of(api)
        return cls(url, headers or {}, hosts | {origin.host}, origin)


class GuardedHTTP:
    """Opens files through the guard.

    Args:
        guard: decides where we may connect.
        tls: instead of the public certificate authorities.
    """

    def __init__(self, guard: EgressGuard, tls: ssl.SSLContext | None = None) -> None:
        self._guard = guard
        self._tls = tls or httpx.create_ssl_context(trust_env=False)

    @asynccontextmanager
    async def open(
        self, request: FileRequest, *, max_bytes: int, deadline: Deadline
    ) -> AsyncIterator[OpenFile]:
        """Yield the file that `request` leads to; the connection lasts as long as the context.

        Args:
            request: where it is.
            max_bytes: longest content; more ends it with TooLarge, whatever was announced.
            deadline: for all of it, redirects and the last byte included.

        Raises:
            InvalidMessage: the address cannot be used.
            EgressRefused: it leads where we do not go.
            NotFound, Forbidden, Rejected: its host does not give it to us.
            TooLarge: its host says that it is too long.
            Unavailable, Overloaded, DeadlineExceeded: it may work later.
        """
        place, headers = Place.of(request.url), dict(request.headers)
        for _ in range(MAX_REDIRECTS + 1):
            self._admit(place, request)
            async with self._ask(place, headers, request.trusted, deadline) as answer:
                if answer.status not in REDIRECTS:
                    _require_plain(answer, max_bytes)
                    yield OpenFile(_media_type(answer), _counted(answer, max_bytes, deadline))
                    return
                target = _redirected(place, answer)
            if target.origin != place.origin:
                headers = {}
            place = target
        raise Rejected("a file's address leads on and on")

    def _admit(self, place: Place, request: FileRequest) -> None:
        if request.hosts and place.origin.host not in request.hosts:
            raise EgressRefused("a file's address leads away from its platform")
        self._guard.admit(place, trusted=request.trusted)

    @asynccontextmanager
    async def _ask(
        self, place: Place, headers: Mapping[str, str], trusted: Origin | None, deadline: Deadline
    ) -> AsyncIterator[httpcore.Response]:
        network = _CheckedNetwork(self._guard, trusted, deadline)
        sent = {"Host": place.host_header, "User-Agent": USER_AGENT, **PLAIN, **headers}
        # A pool of its own: no connection outlives the check that allowed it.
        async with httpcore.AsyncConnectionPool(
            self._tls, max_connections=1, network_backend=network
        ) as pool:
            with _explained():
                async with deadline.guard(TOO_SLOW):
                    answer = await pool.handle_async_request(_request(place, sent))
            try:
                yield answer
            finally:
                await answer.aclose()


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to the addresses that the guard let pass, and to no name."""

    def __init__(self, guard: EgressGuard, trusted: Origin | None, deadline: Deadline) -> None:
        self._guard = guard
        self._trusted = trusted
        self._deadline = deadline
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 -- ours is the deadline
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Return a connection to `host`."""
        guard, deadline = self._guard, self._deadline
        addresses = await guard.addresses(host, port, deadline=deadline, trusted=self._trusted)
        for address in addresses:
            try:
                return await self._network.connect_tcp(
                    str(address), port, CONNECT_TIMEOUT_S, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        raise httpcore.ConnectError


def _request(place: Place, headers: Mapping[str, str]) -> httpcore.Request:
    origin = place.origin
    # In parts, so that nobody reads the address a second time.
    url = httpcore.URL(
        scheme=origin.scheme.encode(),
        host=origin.host.encode(),
        port=origin.port,
        target=place.target.encode(),
    )
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    return httpcore.Request("GET", url, headers=encoded)


def _redirected(place: Place, answer: httpcore.Response) -> Place:
    location = _header(answer, b"location")
    if location.startswith(("/", "?")) and not location.startswith("//"):
        path = place.target.partition("?")[0] if location.startswith("?") else ""
        return Place.of(f"{place.root}{path}{location}")
    return Place.of(location)


def _require_plain(answer: httpcore.Response, max_bytes: int) -> None:
    error = _error_of(answer)
    if error is not None:
        raise error
    if _header(answer, b"content-encoding").lower() not in ("", "identity"):
        # What is not decoded cannot grow.
        raise InvalidMessage("a file came compressed, though that was not asked for")
    announced = _header(answer, b"content-length")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > max_bytes:
        raise _too_large(max_bytes)


def _error_of(answer: httpcore.Response) -> ClawdbotError | None:
    status = answer.status
    if status == HTTPStatus.OK:
        return None
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        return NotFound("the file is not there any more")
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Forbidden(f"the file's host refused it with status {status}")
    error = error_of_status("the file's host", status, _header(answer, b"retry-after"))
    return error if isinstance(error, Retryable) else Rejected(f"no file, but status {status}")


async def _counted(
    answer: httpcore.Response, max_bytes: int, deadline: Deadline
) -> AsyncGenerator[bytes, None]:
    received = 0
    async with aclosing(answer.aiter_stream()) as stream:  # type: ignore[type-var]  # a generator
        while True:
            with _explained():
                async with deadline.guard(TOO_SLOW):
                    chunk = await anext(stream, None)
            if chunk is None:
                return
            received += len(chunk)
            if received > max_bytes:
                raise _too_large(max_bytes)
            yield chunk


@contextmanager
def _explained() -> Iterator[None]:
    """Tell of a failure without its text and cause, which may name the address and so a token."""
    try:
        yield
        return
    except FAILURES as exc:
        kind = type(exc).__name__
    raise Unavailable(f"the file's host cannot be reached: {kind}")


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"the file is longer than {max_bytes} bytes")


def _media_type(answer: httpcore.Response) -> str:
    stated = _header(answer, b"content-type").partition(";")[0].strip().lower()
    return stated if MEDIA_TYPE.fullmatch(stated) else ""


def _header(answer: httpcore.Response, wanted: bytes) -> str:
    found = [value for name, value in answer.headers if name.lower() == wanted]
    return found[0].decode("latin-1").strip() if found else ""
