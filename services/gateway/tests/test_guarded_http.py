"""Fetching through the guard: each hop checked, each byte counted, nothing decoded or leaked."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from clawdbot.gateway.adapters.guarded_http import FileRequest, GuardedHTTP
from clawdbot.runtime.egress import EgressGuard, EgressRefused, origin_of
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import (
    ClawdbotError,
    DeadlineExceeded,
    Forbidden,
    InvalidMessage,
    NotFound,
    Overloaded,
    Rejected,
    TooLarge,
    Unavailable,
)
from services.gateway.tests.file_host import FileHost, answer, file_host

TOKEN = "xoxb-secret"


@pytest.fixture
async def host() -> AsyncIterator[FileHost]:
    async with file_host() as running:
        yield running


@pytest.fixture
async def other() -> AsyncIterator[FileHost]:
    async with file_host() as running:
        yield running


class Resolver:
    """Gives loopback for every name, or what it was told."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, name: str, port: int) -> Sequence[str]:
        self.asked.append(name)
        return self.answers.pop(0) if self.answers else ["127.0.0.1"]


def http(*hosts: FileHost) -> GuardedHTTP:
    return GuardedHTTP(EgressGuard([host.netloc for host in hosts]))


async def fetched(
    client: GuardedHTTP, request: FileRequest, max_bytes: int = 1000, seconds: float = 5
) -> tuple[str, bytes]:
    deadline = Deadline.after(seconds)
    async with client.open(request, max_bytes=max_bytes, deadline=deadline) as file:
        async with aclosing(file.content) as content:
            return file.media_type, b"".join([chunk async for chunk in content])


async def test_a_file_arrives_with_its_type(host: FileHost) -> None:
    host.answers["/a%20b?x=1"] = answer(b"hello", Content_Type="Text/Plain; charset=utf-8")

    got = await fetched(http(host), FileRequest(f"{host.url}/a%20b?x=1"))

    assert got == ("text/plain", b"hello")
    _, headers = host.requests[0]
    assert headers["host"] == host.netloc
    assert headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/",
        "http://127.0.0.1:{port}/",
        "https://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "https://localhost/",
        "http://[::1]:{port}/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "http://2130706433:{port}/",
        "http://0x7f.1:{port}/",
        "http://user@127.0.0.1:{port}/",
        "file:///etc/passwd",
        "slack:F123",
    ],
)
async def test_nothing_of_ours_is_reached(host: FileHost, url: str) -> None:
    with pytest.raises((EgressRefused, InvalidMessage)):
        await fetched(GuardedHTTP(EgressGuard()), FileRequest(url.format(port=host.port)))

    assert host.connections == 0


async def test_what_was_checked_is_what_is_connected_to(host: FileHost) -> None:
    # The second answer would lead elsewhere, but nobody asks a second time.
    resolver = Resolver(["127.0.0.1"], ["10.0.0.1"])
    guard = EgressGuard([f"files.example.com:{host.port}"], resolve=resolver)
    host.answers["/a"] = answer(b"x")

    got = await fetched(GuardedHTTP(guard), FileRequest(f"http://files.example.com:{host.port}/a"))

    assert got[1] == b"x"
    assert resolver.asked == ["files.example.com"]
    assert host.requests[0][1]["host"] == f"files.example.com:{host.port}"


async def test_a_name_that_turns_private_is_refused_at_the_next_fetch() -> None:
    guard = EgressGuard(resolve=Resolver(["127.0.0.1"]))

    with pytest.raises(EgressRefused):
        await fetched(GuardedHTTP(guard), FileRequest("https://rebind.example.com/"))


async def test_a_redirect_to_a_private_place_is_refused(host: FileHost, other: FileHost) -> None:
    host.answers["/a"] = answer(status="302 Found", Location=f"{other.url}/b")

    with pytest.raises(EgressRefused):
        await fetched(http(host), FileRequest(f"{host.url}/a"))

    assert other.connections == 0


async def test_credentials_stay_with_their_origin(host: FileHost, other: FileHost) -> None:
    host.answers["/a"] = answer(status="307 Temporary Redirect", Location="/b")
    host.answers["/b"] = answer(status="302 Found", Location=f"{other.url}/c")
    other.answers["/c"] = answer(status="302 Found", Location=f"{host.url}/d")
    host.answers["/d"] = answer(b"x")
    request = FileRequest(f"{host.url}/a", {"Authorization": f"Bearer {TOKEN}"})

    await fetched(http(host, other), request)

    given = [(path, "authorization" in headers) for path, headers in host.requests]
    assert given == [("/a", True), ("/b", True), ("/d", False)]
    assert "authorization" not in other.requests[0][1]


async def test_redirects_end(host: FileHost) -> None:
    host.answers["/a"] = answer(status="302 Found", Location="/a")

    with pytest.raises(Rejected):
        await fetched(http(host), FileRequest(f"{host.url}/a"))

    assert len(host.requests) == 4


async def test_a_platforms_file_stays_with_the_platform(host: FileHost, other: FileHost) -> None:
    host.answers["/a"] = answer(status="302 Found", Location=f"http://localhost:{other.port}/")
    client = GuardedHTTP(EgressGuard([host.netloc, f"localhost:{other.port}"]))

    with pytest.raises(EgressRefused, match="platform"):
        await fetched(client, FileRequest(f"{host.url}/a", hosts=frozenset({"127.0.0.1"})))

    assert other.connections == 0


async def test_the_operators_own_origin_needs_no_exception(host: FileHost) -> None:
    host.answers["/a"] = answer(b"x")
    request = FileRequest(f"{host.url}/a", trusted=origin_of(host.url))

    assert (await fetched(GuardedHTTP(EgressGuard()), request))[1] == b"x"


async def test_a_file_that_says_it_is_too_long_is_not_read(host: FileHost) -> None:
    host.answers["/a"] = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n"

    with pytest.raises(TooLarge):
        await fetched(http(host), FileRequest(f"{host.url}/a"))


async def test_a_file_that_lies_about_its_length_is_cut_off(host: FileHost) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"40\r\n" + b"x" * 64 + b"\r\n")
            await writer.drain()

    host.answers["/a"] = endless

    with pytest.raises(TooLarge):
        await fetched(http(host), FileRequest(f"{host.url}/a"))


async def test_a_file_that_ends_early_is_no_file(host: FileHost) -> None:
    host.answers["/a"] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"

    with pytest.raises(Unavailable):
        await fetched(http(host), FileRequest(f"{host.url}/a"))


async def test_a_dripping_file_ends_with_the_deadline(host: FileHost) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    host.answers["/a"] = drip

    with pytest.raises(DeadlineExceeded):
        await fetched(http(host), FileRequest(f"{host.url}/a"), seconds=0.3)


async def test_a_silent_host_ends_with_the_deadline(host: FileHost) -> None:
    async def silence(writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            await asyncio.sleep(0.02)

    host.answers["/a"] = silence

    with pytest.raises(DeadlineExceeded):
        await fetched(http(host), FileRequest(f"{host.url}/a"), seconds=0.3)


async def test_a_compressed_file_is_refused(host: FileHost) -> None:
    host.answers["/a"] = answer(b"\x1f\x8b", Content_Encoding="gzip")

    with pytest.raises(InvalidMessage, match="compressed"):
        await fetched(http(host), FileRequest(f"{host.url}/a"))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("401 X", Forbidden),
        ("403 X", Forbidden),
        ("404 X", NotFound),
        ("410 X", NotFound),
        ("400 X", Rejected),
        ("206 X", Rejected),
        ("304 X", Rejected),
        ("429 X", Overloaded),
        ("500 X", Unavailable),
    ],
)
async def test_a_status_is_an_error_of_ours(
    host: FileHost, status: str, error: type[ClawdbotError]
) -> None:
    host.answers["/a"] = answer(status=status)

    with pytest.raises(error):
        await fetched(http(host), FileRequest(f"{host.url}/a"))


async def test_what_is_not_http_is_unavailable_and_names_no_token(host: FileHost) -> None:
    host.answers[f"/{TOKEN}"] = b"\x00garbage\r\n\r\n"
    request = FileRequest(f"{host.url}/{TOKEN}", {"Authorization": TOKEN})

    with pytest.raises(Unavailable) as failed:
        await fetched(http(host), request)

    assert TOKEN not in f"{failed.value!r}{failed.value.__cause__!r}{request!r}"


async def test_the_environments_proxy_is_not_used(
    host: FileHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    host.answers["/a"] = answer(b"x")

    assert (await fetched(http(host), FileRequest(f"{host.url}/a")))[1] == b"x"


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for `name`, and a client's that trusts it alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ip_address("9.9.9.9"))])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = built.public_bytes(serialization.Encoding.PEM)
    path = folder / "both.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + pem
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cadata=pem.decode())


async def test_tls_proves_the_name_and_not_the_address(tmp_path: Path) -> None:
    server, client = certificate(tmp_path, "files.example.com")
    asked: list[str | None] = []
    server.sni_callback = lambda _, name, __: asked.append(name)
    async with file_host(server) as host:
        host.answers["/a"] = answer(b"x")
        names = [f"{name}:{host.port}" for name in ("files.example.com", "evil.example.com")]
        http = GuardedHTTP(EgressGuard(names, resolve=Resolver()), client)

        got = await fetched(http, FileRequest(f"https://files.example.com:{host.port}/a"))
        with pytest.raises(Unavailable):
            await fetched(http, FileRequest(f"https://evil.example.com:{host.port}/a"))

    assert got[1] == b"x"
    assert asked == ["files.example.com", "evil.example.com"]
