"""Files that came with messages, fetched when somebody asks."""

from __future__ import annotations

import hashlib

import pytest

from clawdbot.gateway.domain.messages import Envelope
from clawdbot.gateway.handlers.files import FetchFile, FetchLimits
from clawdbot.gateway.ports import RecordingInbox
from clawdbot.schema.attachments import FetchAttachmentReply, FetchAttachmentRequest
from clawdbot.schema.blobs import INLINE_BYTES
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import DeadlineExceeded, Forbidden, NotFound
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import Attachment, InboundMessage
from clawdbot.schema.principal import Principal
from clawdbot.schema.rpc import Call
from services.gateway.tests.fake_files import InMemoryBlobs, RecordingFiles

URL = "https://files.example.com/a.txt"
LIMIT = 1_000_000


class Scene:
    def __init__(self) -> None:
        self.inbox = RecordingInbox()
        self.files = RecordingFiles()
        self.blobs = InMemoryBlobs()
        self.fetch = FetchFile(self.inbox, self.files, self.blobs, FetchLimits(LIMIT, 5))

    async def keep(self, **attachment: str) -> None:
        message = InboundMessage(
            platform="telegram",
            sender_id="1",
            content="",
            timestamp=1,
            attachments=(Attachment(type="file", url=URL, **attachment),),
            message_id=MessageId("m"),
            tenant=Tenant("t"),
            conversation_id=ConversationId("c"),
            channel=Channel("telegram"),
            accepted_at_ms=1,
            deadline_ms=1,
        )
        principal = Principal(
            tenant=Tenant("t"),
            user="u",
            scopes=frozenset(),
            conversation_id=ConversationId("c"),
            channel=Channel("telegram"),
        )
        await self.inbox.keep(Envelope(message, principal), deadline=Deadline.after(1))

    async def ask(self, seconds: float = 5, **fields: object) -> FetchAttachmentReply:
        given = {"tenant": "t", "conversation_id": "c", "message_id": "m", "index": 0, **fields}
        request = FetchAttachmentRequest.model_validate(given)
        return await self.fetch(request, Call(Deadline.after(seconds)))


@pytest.fixture
async def scene() -> Scene:
    scene = Scene()
    await scene.keep()
    return scene


@pytest.mark.parametrize("size", [0, 1, INLINE_BYTES])
async def test_a_short_file_comes_within_the_reply(scene: Scene, size: int) -> None:
    scene.files.files[URL] = ("text/plain", b"x" * size)

    reply = await scene.ask()

    assert (reply.media_type, reply.data, reply.blob) == ("text/plain", b"x" * size, None)
    assert scene.blobs.kept == {}


async def test_a_longer_file_comes_by_reference(scene: Scene) -> None:
    content = hashlib.shake_128(b"x").digest(INLINE_BYTES + 1)
    scene.files.files[URL] = ("application/pdf", content)

    reply = await scene.ask()

    assert reply.data is None
    assert reply.blob is not None
    assert scene.blobs.kept[reply.blob.sha256] == content
    assert reply.blob.media_type == "application/pdf"


@pytest.mark.parametrize(
    "fields",
    [
        {"message_id": "other"},
        {"tenant": "other"},
        {"conversation_id": "other"},
        {"index": 1},
    ],
)
async def test_what_no_kept_message_names_is_not_fetched(scene: Scene, fields: dict) -> None:
    with pytest.raises(NotFound):
        await scene.ask(**fields)

    assert scene.files.opened == []


async def test_a_caller_may_want_less_but_never_more(scene: Scene) -> None:
    scene.files.files[URL] = ("", b"x")

    await scene.ask(max_bytes=100)
    await scene.ask(max_bytes=LIMIT * 10)
    await scene.ask()

    assert [longest for _, longest in scene.files.opened] == [100, LIMIT, LIMIT]


@pytest.mark.parametrize(
    ("host", "platform", "told"),
    [
        ("text/html", "text/plain", "text/html"),
        ("", "text/plain", "text/plain"),
        ("application/octet-stream", "text/plain", "text/plain"),
        ("", None, "application/octet-stream"),
    ],
)
async def test_the_host_knows_the_type_best(host: str, platform: str | None, told: str) -> None:
    scene = Scene()
    await scene.keep(**({"media_type": platform} if platform else {}))
    scene.files.files[URL] = (host, b"x")

    assert (await scene.ask()).media_type == told


async def test_what_the_host_refuses_is_told(scene: Scene) -> None:
    scene.files.files[URL] = Forbidden("no")

    with pytest.raises(Forbidden):
        await scene.ask()


async def test_a_late_question_is_not_worked_on(scene: Scene) -> None:
    with pytest.raises(DeadlineExceeded):
        await scene.ask(seconds=-1)

    assert scene.files.opened == []
