"""Downloads through the whole application, from a real object store."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from clawdbot.gateway.adapters.blob_links import BlobLinks
from clawdbot.gateway.adapters.body import Gate
from clawdbot.gateway.adapters.endpoint_blob import BlobEndpoint
from clawdbot.runtime.blobs import Blobs
from clawdbot.runtime.testing import LocalBus, local_bus
from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.messages import Attachment
from clawdbot.schema.streams import OBJECT_STREAM

LINKS = BlobLinks(b"s" * 32, "", 3600)


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[LocalBus]:
    async with local_bus(tmp_path) as running:
        yield running


@pytest.fixture
async def blobs(stack: LocalBus) -> AsyncIterator[Blobs]:
    async with stack.bus("gateway") as bus:
        yield Blobs(bus, max_bytes=10_000_000)


async def stored(blobs: Blobs, data: bytes, name: str, media_type: str = "text/html") -> str:
    async def content() -> AsyncIterator[bytes]:
        yield data

    ref = await blobs.put(content(), media_type, deadline=Deadline.after(5))
    return LINKS(Attachment(type="file", url="", name=name, blob=ref))


@asynccontextmanager
async def browser(door, blobs: Blobs, gate: Gate | None = None) -> AsyncIterator[httpx.AsyncClient]:
    door.blobs = BlobEndpoint(blobs, LINKS, gate or Gate(4), 10)
    transport = httpx.ASGITransport(door.app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


async def test_a_file_is_a_download_and_never_a_page(door, blobs: Blobs) -> None:
    data = b"<script>alert(1)</script>" + hashlib.shake_128(b"x").digest(1_000_000)
    url = await stored(blobs, data, 'a "б"\r\n.html')

    async with browser(door, blobs) as client:
        got = await client.get(url)
        head = await client.head(url)

    assert (got.status_code, got.content) == (200, data)
    assert got.headers["content-length"] == head.headers["content-length"] == str(len(data))
    assert head.content == b""
    assert got.headers["content-type"] == "text/html"
    assert got.headers["content-disposition"] == (
        "attachment; filename=\"a _____.html\"; filename*=UTF-8''a%20%22%D0%B1%22__.html"
    )
    assert got.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in got.headers["content-security-policy"]
    assert "no-store" in got.headers["cache-control"]


async def test_without_our_signature_nothing_is_found(door, blobs: Blobs) -> None:
    url = await stored(blobs, b"x", "a")
    path, _, query = url.partition("?")

    async with browser(door, blobs) as client:
        for wrong in (
            path,
            f"{path}?{query}0",
            f"{path}?{query}&name=b",
            f"{path}?{query.replace('name=a', 'name=b')}",
            f"/blobs/{'0' * 64}?{query}",
            f"/blobs/..%2f?{query}",
            f"{path}?{query.replace('expires=', 'expires=9')}",
        ):
            assert (await client.get(wrong)).status_code == 404
        assert (await client.post(url)).status_code == 405
        assert (await client.get(url)).status_code == 200


async def test_what_has_gone_is_not_found(door, blobs: Blobs, stack: LocalBus) -> None:
    url = await stored(blobs, b"x", "a")
    async with stack.bus("provisioner") as bus:
        await bus.jetstream.purge_stream(OBJECT_STREAM)

    async with browser(door, blobs) as client:
        assert (await client.get(url)).status_code == 404


async def test_a_damaged_file_is_never_whole(door, blobs: Blobs, stack: LocalBus) -> None:
    small, large = await stored(blobs, b"one", "a"), await stored(blobs, b"2" * 300_000, "b")
    async with stack.bus("gateway") as bus:
        names = [url.split("/")[2].partition("?")[0] for url in (small, large)]
        for name in names:
            subject = subjects.blob_info(name)
            raw = await bus.jetstream.get_msg(OBJECT_STREAM, subject=subject, direct=True)
            other = hashlib.sha256(b"other" + name.encode()).hexdigest()
            forged = (raw.data or b"").replace(name.encode(), other.encode())
            await bus.jetstream.publish(subjects.blob_info(other), forged)
            ref = await blobs.find(other, deadline=Deadline.after(5))
            url = LINKS(Attachment(type="file", url="", blob=ref))
            async with browser(door, blobs) as client:
                if name == names[0]:
                    assert (await client.get(url)).status_code == 404
                else:
                    got = await client.get(url)
                    assert len(got.content) < 300_000


async def test_too_many_downloads_are_told_to_wait(door, blobs: Blobs) -> None:
    url, gate = await stored(blobs, b"x", "a"), Gate(1)

    async with browser(door, blobs, gate) as client:
        with gate.enter():
            assert (await client.get(url)).status_code == 429
        assert (await client.get(url)).status_code == 200
        assert (await client.get(url)).status_code == 200
