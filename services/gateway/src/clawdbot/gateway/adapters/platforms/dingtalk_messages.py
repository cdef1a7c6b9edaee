"""What people say to a DingTalk robot, as text and attachments; by webhook or by stream alike.

Read are `text`, `richText` (its texts and pictures), `picture`, `audio` (with the words that
DingTalk recognised), `video` and `file`. Files are named `dingtalk:<download code>`.

Source: DingTalk open platform, "Messages that robots receive"; `createAt` is a string there and a
number on the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from clawdbot.gateway.adapters.fields import Body, Name, read_fields, storable
from clawdbot.gateway.adapters.platforms.interface import PlatformMessage
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.messages import MAX_ATTACHMENTS, Attachment

SCHEME = "dingtalk"
SESSION_PATH = "/robot/sendBySession"
ALONE = "1"
MAX_NAME_CHARS = 255
MAX_MILLISECONDS = 10**13 - 1


def _whole(value: object) -> object:
    is_number = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 13
    return int(value) if is_number and isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(storable)]
MaybeName = Annotated[Name | None, BeforeValidator(lambda value: value or None)]
Milliseconds = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=MAX_MILLISECONDS)]
DownloadCode = Annotated[str, Field(pattern=r"^[!-~]{1,2048}$")]


class Told(Body):
    """An object of DingTalk's."""

    model_config = ConfigDict(alias_generator=to_camel)


class TextContent(Told):
    """`text` of a `text`."""

    content: Text


class FileContent(Told):
    """`content` of a picture, a video, a file or a recording."""

    download_code: DownloadCode
    file_name: Text = ""
    recognition: Text = ""


class Said(Told):
    """A message."""

    msg_id: Name
    msgtype: Text
    conversation_id: Name
    conversation_type: Text = ""
    """`1` is a conversation of one person with the robot; all others have more readers."""
    sender_id: Name
    sender_staff_id: MaybeName = None
    """Only members of the organisation have one."""
    chatbot_user_id: MaybeName = None
    create_at: Milliseconds
    session_webhook: Text = ""
    session_webhook_expired_time: Milliseconds = 0


Content = tuple[str, tuple[Attachment, ...]]


def message_of(values: Mapping[str, object], session_base: str) -> PlatformMessage | None:
    """Return what a person said; None for our own messages and for kinds that are not read.

    Args:
        values: the message.
        session_base: where `sessionWebhook` has to lead.

    Raises:
        InvalidMessage: a field is missing or wrong.
    """
    said = read_fields(Said, values)
    reader = _READERS.get(said.msgtype)
    if reader is None or said.sender_id == said.chatbot_user_id:
        return None
    content, attachments = reader(values)
    is_group = said.conversation_type != ALONE
    return PlatformMessage(
        event_id=said.msg_id,
        sender_id=said.sender_staff_id or said.sender_id,
        content=content,
        place=(said.conversation_id,),
        timestamp=said.create_at // 1000,
        attachments=attachments[:MAX_ATTACHMENTS],
        address={
            "session": session_of(said.session_webhook, session_base),
            "until_ms": said.session_webhook_expired_time,
            "conversation": said.conversation_id if is_group else "",
            "staff": said.sender_staff_id or "",
        },
        holds_token=True,
        in_group=is_group,
    )


def session_of(url: str, base: str) -> str:
    """Return the session that `url`, a `sessionWebhook`, names; "" when there is none.

    Nothing else of the address is used: whoever has one header may write any body.

    Raises:
        InvalidMessage: it leads elsewhere than to `base`.
    """
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        sessions = [value for name, value in parse_qsl(parts.query) if name == "session"]
    except ValueError:
        parts, sessions = urlsplit(""), []
    if f"{parts.scheme}://{parts.netloc}" != base or parts.path != SESSION_PATH or not sessions:
        raise InvalidMessage("the field 'sessionWebhook' cannot be used", field="sessionWebhook")
    return sessions[0]


def _text(values: Mapping[str, object]) -> Content:
    # Where the robot was mentioned, DingTalk leaves the blank behind its name.
    return read_fields(TextContent, _mapping(values.get("text"))).content.strip(), ()


def _file(kind: str) -> Callable[[Mapping[str, object]], Content]:
    def read(values: Mapping[str, object]) -> Content:
        file = read_fields(FileContent, _mapping(values.get("content")))
        return file.recognition, (_attachment(kind, file),)

    return read


def _rich_text(values: Mapping[str, object]) -> Content:
    rows = _mapping(values.get("content")).get("richText")
    items = [item for item in rows if isinstance(item, dict)] if isinstance(rows, list) else []
    texts = [str(storable(item["text"])) for item in items if isinstance(item.get("text"), str)]
    pictures = [
        _attachment("image", read_fields(FileContent, item))
        for item in items
        if "downloadCode" in item
    ]
    return "".join(texts).strip(), tuple(pictures)


def _attachment(kind: str, file: FileContent) -> Attachment:
    name = file.file_name[:MAX_NAME_CHARS] or None
    return Attachment(type=kind, url=f"{SCHEME}:{file.download_code}", name=name)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


_READERS: dict[str, Callable[[Mapping[str, object]], Content]] = {
    "text": _text,
    "richText": _rich_text,
    "picture": _file("image"),
    "audio": _file("audio"),
    "video": _file("video"),
    "file": _file("file"),
}
