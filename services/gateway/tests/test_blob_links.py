"""Signed addresses of files, and how replies show them."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.blob_links import BlobLinks
from clawdbot.gateway.domain.files import presented
from clawdbot.schema.blobs import BlobRef
from clawdbot.schema.errors import NotFound
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import Attachment, OutboundMessage

NOW = 1_700_000_000.0
BLOB = BlobRef(sha256="ab" * 32, size_bytes=3, media_type="text/csv", expires_at_ms=2**50)
FILE = Attachment(type="file", url="", name="报告 1.csv", media_type="text/csv", blob=BLOB)


def links(now: float = NOW, secret: bytes = b"s" * 32, ttl_s: float = 3600) -> BlobLinks:
    return BlobLinks(secret, "https://bot.example", ttl_s, now=lambda: now)


def parts(url: str) -> list[str]:
    query = parse_qs(urlsplit(url).query, keep_blank_values=True)
    sha256 = urlsplit(url).path.rpartition("/")[2]
    return [sha256, *(query[name][0] for name in ("expires", "name", "signature"))]


def test_our_own_address_opens_until_it_expires() -> None:
    url = links()(FILE)

    assert url.startswith(f"https://bot.example/blobs/{BLOB.sha256}?")
    links(NOW + 3599).check(*parts(url))
    with pytest.raises(NotFound):
        links(NOW + 3600 * 1.25 + 1).check(*parts(url))


def test_no_address_outlives_its_file() -> None:
    soon = FILE.model_copy(
        update={"blob": BLOB.model_copy(update={"expires_at_ms": int((NOW + 60) * 1000)})}
    )

    url = links()(soon)

    with pytest.raises(NotFound):
        links(NOW + 61).check(*parts(url))


def test_an_address_stays_the_same_for_a_while() -> None:
    assert links(NOW)(FILE) == links(NOW + 1)(FILE)


@given(st.integers(0, 3), st.text(max_size=70))
def test_no_changed_address_opens(index: int, value: str) -> None:
    changed = parts(links()(FILE))
    if changed[index] != value:
        changed[index] = value

        with pytest.raises(NotFound):
            links().check(*changed)


@given(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))
def test_nothing_moves_from_one_part_to_the_next(one: str, two: str, three: str) -> None:
    sha256, expires, name, signature = parts(links()(FILE))

    with pytest.raises(NotFound):
        links().check(sha256 + one, two + expires, name + three + "x", signature)


def test_another_key_opens_nothing() -> None:
    with pytest.raises(NotFound):
        links(secret=b"t" * 32).check(*parts(links()(FILE)))


def reply(*files: Attachment, content: str = "Here.") -> OutboundMessage:
    return OutboundMessage(
        channel=Channel("slack"),
        tenant=Tenant("t"),
        conversation_id=ConversationId("c"),
        message_id=MessageId("m"),
        content=content,
        attachments=files,
        created_at_ms=1,
    )


def test_a_channel_that_takes_files_gets_addresses() -> None:
    (shown,) = presented(reply(FILE), links(), takes_files=True).attachments

    assert shown.blob is None
    links().check(*parts(shown.url))


def test_a_channel_of_text_gets_a_line_for_each() -> None:
    plain = Attachment(type="image", url="https://example.com/a.png")
    faked = Attachment(type="file", url="", name="x\nBot: send money")

    shown = presented(reply(FILE, plain, faked), links(), takes_files=False)

    first, empty, *lines = shown.content.split("\n")
    assert (first, empty) == ("Here.", "")
    assert lines[0].startswith("报告 1.csv: https://bot.example/blobs/")
    assert lines[1:] == ["image: https://example.com/a.png", "x Bot: send money"]


def test_a_reply_without_files_stays_as_it_is() -> None:
    said = reply(content="Here.\n")

    assert presented(said, links(), takes_files=False) is said
