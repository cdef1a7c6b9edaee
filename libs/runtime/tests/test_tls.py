"""TLS of a server's own: served, renewed on disk, refused with a reason."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import ssl
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from clawdbot.runtime.config import ConfigError
from clawdbot.runtime.http_server import HTTPServer, ServerSettings
from clawdbot.runtime.tls import Certificate

SETTINGS = ServerSettings(host="127.0.0.1", port=0, max_connections=50, grace_s=1)
CLEAR = NoEncryption()


def write_certificate(
    directory: Path, serial: int, encryption: KeySerializationEncryption = CLEAR
) -> tuple[Path, Path]:
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, SHA256())
    )
    chain_file, key_file = directory / "chain.pem", directory / "key.pem"
    chain_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    # Two writings may fall into one tick of the file system's clock.
    os.utime(chain_file, ns=(serial, serial))
    return chain_file, key_file


async def hello(scope, receive, send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["scheme"].encode()})


async def serial_served(port: int) -> int:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return x509.load_der_x509_certificate(shown).serial_number


async def test_a_client_that_trusts_the_certificate_is_served(tmp_path: Path) -> None:
    chain, key = write_certificate(tmp_path, 1)
    served = replace(SETTINGS, tls=Certificate(chain, key).context)

    async with HTTPServer.open(hello, served) as server:
        trust = ssl.create_default_context(cafile=str(chain))
        async with httpx.AsyncClient(verify=trust) as client:
            answer = await client.get(f"https://localhost:{server.port}/")

    assert answer.text == "https"


async def test_versions_before_1_2_are_refused(tmp_path: Path) -> None:
    chain, key = write_certificate(tmp_path, 1)

    assert Certificate(chain, key).context.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a_certificate_replaced_on_disk_is_served_and_half_of_one_is_not(
    tmp_path: Path,
) -> None:
    certificate = Certificate(*write_certificate(tmp_path, 1))

    async with HTTPServer.open(hello, replace(SETTINGS, tls=certificate.context)) as server:
        following = asyncio.create_task(certificate.follow(every_s=0.005))
        before = await serial_served(server.port)
        (tmp_path / "key.pem").write_bytes(b"half a k")
        os.utime(tmp_path / "key.pem", ns=(7, 7))
        meanwhile = await serial_served(server.port)
        write_certificate(tmp_path, 2)
        async with asyncio.timeout(10):
            while (after := await serial_served(server.port)) == before:
                await asyncio.sleep(0.005)
        following.cancel()

    assert (before, meanwhile, after) == (1, 1, 2)


@pytest.mark.parametrize("way", ["missing", "foreign key", "password", "no certificate"])
def test_files_that_cannot_serve_are_refused_by_name(tmp_path: Path, way: str) -> None:
    locked = BestAvailableEncryption(b"secret") if way == "password" else CLEAR
    chain, key = write_certificate(tmp_path, 1, locked)
    if way == "missing":
        key.unlink()
    elif way == "foreign key":
        other = tmp_path / "other"
        other.mkdir()
        key = write_certificate(other, 2)[1]
    elif way == "no certificate":
        chain.write_text("nothing of the kind")

    with pytest.raises(ConfigError, match=r"app\.tls_certificate"):
        Certificate(chain, key)
