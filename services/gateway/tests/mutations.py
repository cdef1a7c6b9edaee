"""Requests that are almost right, made from right ones, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

Headers = tuple[tuple[bytes, bytes], ...]

AWKWARD = (
    b"",
    b"\x00",
    b"\xff\xfe",
    b"\r\nx-injected: 1",
    b"9" * 5000,
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b"[" * 3000,
    b'{"a":' * 500,
    b"\\ud800",
    b'"',
    "。\u202e\u200b".encode(),
    b"${jndi:ldap://x}",
    b"' OR 1=1 --",
    b"../" * 20,
    b"claw.in.>",
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post", "X")
STRANGE_HEADERS: Headers = (
    (b"content-encoding", b"gzip"),
    (b"content-length", b"0"),
    (b"content-length", b"99999999999999999999"),
    (b"content-length", b"-5"),
    (b"content-type", b"multipart/form-data; boundary="),
    (b"content-type", b"application/xml"),
    (b"expect", b"100-continue"),
    (b"transfer-encoding", b"chunked"),
    (b"traceparent", b"00-" + b"f" * 32 + b"-" + b"0" * 16 + b"-ff"),
    (b"traceparent", b"\xff"),
    (b"x-forwarded-for", b"127.0.0.1"),
    (b"x-forwarded-host", b"evil.example"),
    (b"host", b"evil.example"),
    (b"accept", b"text/event-stream"),
    (b"authorization", b"Bearer " + b"e30." * 3),
)


@dataclass(frozen=True)
class Call:
    """A request as a server hands it to an application."""

    method: str
    path: str
    query: bytes
    headers: Headers
    body: bytes


Mutation = Callable[[Call, random.Random, Sequence[Call]], Call]


def bytes_changed(data: bytes, chance: random.Random) -> bytes:
    """Return `data` with one thing wrong."""
    at = chance.randrange(len(data) + 1)
    return chance.choice(
        (
            data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :],
            data[:at],
            data[at:],
            data[:at] + chance.choice(AWKWARD) + data[at:],
            data + data,
            data.swapcase(),
        )
    )


def body_changed(call: Call, chance: random.Random, _: Sequence[Call]) -> Call:
    """Say something else under the same signature."""
    return replace(call, body=bytes_changed(call.body, chance))


def body_of_another(call: Call, chance: random.Random, others: Sequence[Call]) -> Call:
    """Say what another platform's message says."""
    return replace(call, body=chance.choice(others).body)


def header_changed(call: Call, chance: random.Random, _: Sequence[Call]) -> Call:
    """Change, drop, double or empty one header."""
    if not call.headers:
        return call
    at = chance.randrange(len(call.headers))
    name, value = call.headers[at]
    instead: Headers = chance.choice(
        (
            ((name, bytes_changed(value, chance)),),
            (),
            ((name, value), (name, value)),
            ((name, value), (name, bytes_changed(value, chance))),
            ((name, b""),),
        )
    )
    return replace(call, headers=(*call.headers[:at], *instead, *call.headers[at + 1 :]))


def header_added(call: Call, chance: random.Random, _: Sequence[Call]) -> Call:
    """Add a header that means something to somebody."""
    return replace(call, headers=(*call.headers, chance.choice(STRANGE_HEADERS)))


def headers_of_another(call: Call, chance: random.Random, others: Sequence[Call]) -> Call:
    """Offer another platform's signature, alone or beside the right one."""
    foreign = chance.choice(others).headers
    return replace(call, headers=chance.choice((foreign, (*call.headers, *foreign))))


def path_changed(call: Call, chance: random.Random, others: Sequence[Call]) -> Call:
    """Knock at another door, or at this one in another way."""
    path = call.path
    instead = (
        chance.choice(others).path,
        f"{path}/",
        f"{path}/default",
        f"{path}/other",
        path.upper(),
        path.replace("/", "//", 1),
        f"{path}/../slack",
        f"{path}\x00",
        f"{path}%2e",
        "/",
        "",
    )
    return replace(call, path=chance.choice(instead))


def query_changed(call: Call, chance: random.Random, _: Sequence[Call]) -> Call:
    """Ask with parameters, or spoil those that sign."""
    if call.query and chance.random() < 0.5:
        return replace(call, query=bytes_changed(call.query, chance))
    queries = (b"challenge=1", b"a=1&" * 200, b"%ff=%fe", b"echostr=x&echostr=y", b"token=", b"&;=")
    return replace(call, query=chance.choice(queries))


def method_changed(call: Call, chance: random.Random, _: Sequence[Call]) -> Call:
    """Ask for something else."""
    return replace(call, method=chance.choice(METHODS))


OUTSIDE: tuple[Mutation, ...] = (
    header_changed,
    header_changed,
    header_added,
    headers_of_another,
    path_changed,
    query_changed,
    method_changed,
)
"""Mutations that leave the body as it is."""
EVERYWHERE: tuple[Mutation, ...] = (*OUTSIDE, body_changed, body_changed, body_of_another)
