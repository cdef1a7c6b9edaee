"""What people say in Feishu, as text and attachments.

Read are `text`, `post` (flattened to lines, code kept as code), `image`, `file`, `audio` and
`media`. Stickers, folders, cards, forwarded bundles and the like have nothing that a bot can fetch
and are passed over. Files are named `feishu:<key>`: fetching one takes the app's token.

Source: Feishu Open Platform, "Receive message" (`im.message.receive_v1`) and "Structure of received
message content".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import BeforeValidator, Field, Strict

from clawdbot.gateway.adapters.fields import Body, Name, read_fields, storable
from clawdbot.gateway.adapters.platforms.interface import PlatformMessage
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.messages import MAX_ATTACHMENTS, Attachment

USER = "user"
P2P = "p2p"
MAX_NAME_CHARS = 255
_MENTION = re.compile(r"@_(?:user_[0-9]+|all)")

Text = Annotated[str, BeforeValidator(storable)]
MaybeName = Annotated[Name | None, BeforeValidator(lambda value: value or None)]
MessageName = Annotated[str, Field(pattern=r"^om_[!-~]{1,200}$")]
"""Goes into a path of the API."""


class Mention(Body):
    """Somebody whom the text calls `@_user_1`."""

    key: Text
    name: Text | None = None


class SenderIds(Body):
    """Ids of one person."""

    open_id: Name | None = None


class Sender(Body):
    """Who spoke."""

    sender_type: Text
    sender_id: SenderIds | None = None


class Said(Body):
    """A message in its event."""

    message_id: MessageName
    chat_id: Name
    chat_type: Text = ""
    """`p2p` is a conversation of one person with the bot; all others have more readers."""
    create_time: Annotated[str, Field(pattern=r"^[0-9]{13}$")]
    message_type: Text
    content: Text
    root_id: MaybeName = None
    thread_id: MaybeName = None
    mentions: Annotated[
        tuple[Mention, ...], Strict(False), BeforeValidator(lambda value: value or ())
    ] = ()


class MessageEvent(Body):
    """`event` of `im.message.receive_v1`."""

    sender: Sender
    message: Said


class TextContent(Body):
    """Content of a `text`."""

    text: Text


class ImageContent(Body):
    """Content of an `image`."""

    image_key: Name


class FileContent(Body):
    """Content of a `file`, an `audio`, or a video, which Feishu calls `media`."""

    file_key: Name
    file_name: Text | None = None


Content = tuple[str, tuple[Attachment, ...]]


def message_of(event: MessageEvent) -> PlatformMessage | None:
    """Return what a person said; None for what bots said and for kinds that are not read.

    Raises:
        BadPayload: the content is no JSON.
        InvalidMessage: a field is missing or wrong.
    """
    said = event.message
    read = _READERS.get(said.message_type)
    if event.sender.sender_type != USER or read is None:
        return None
    sender_id = event.sender.sender_id.open_id if event.sender.sender_id else None
    if sender_id is None:
        raise InvalidMessage("the sender has no open_id", field="open_id")
    text, attachments = read(parse_object(said.content.encode()))
    return PlatformMessage(
        event_id=said.message_id,
        sender_id=sender_id,
        content=_with_names(text, said.mentions),
        # A quote stays in its chat's conversation, or the answer it quotes would be forgotten.
        place=(said.chat_id, said.thread_id or ""),
        timestamp=int(said.create_time) // 1000,
        attachments=attachments,
        thread_id=said.thread_id or said.root_id,
        address={"message_id": said.message_id},
        in_group=said.chat_type != P2P,
    )


def _with_names(text: str, mentions: Sequence[Mention]) -> str:
    names = {"@_all": "@all"}
    names.update({mention.key: f"@{mention.name}" for mention in mentions if mention.name})
    # One pass: nobody can be named so that it is replaced again.
    return _MENTION.sub(lambda found: names.get(found[0], found[0]), text)


def _text(values: Mapping[str, object]) -> Content:
    return read_fields(TextContent, values).text, ()


def _image(values: Mapping[str, object]) -> Content:
    return "", (_attachment("image", read_fields(ImageContent, values).image_key),)


def _file(kind: str) -> Callable[[Mapping[str, object]], Content]:
    def read(values: Mapping[str, object]) -> Content:
        content = read_fields(FileContent, values)
        return "", (_attachment(kind, content.file_key, content.file_name),)

    return read


def _post(values: Mapping[str, object]) -> Content:
    rows = [
        [item for item in _list(row) if isinstance(item, dict)] for row in _list(values, "content")
    ]
    lines = [_string(values, "title"), *("".join(map(_inline, row)) for row in rows)]
    files = tuple(file for row in rows for item in row for file in _files(item))
    return "\n".join(lines).strip("\n"), files[:MAX_ATTACHMENTS]


def _inline(item: Mapping[str, object]) -> str:
    text = _string(item, "text")
    match item.get("tag"):
        case "a":
            href = _string(item, "href")
            return f"[{text}]({href})" if href and href != text else text
        case "at":
            return _string(item, "user_id") or f"@{_string(item, 'user_name')}"
        case "code_block":
            return f"```{_string(item, 'language').lower()}\n{text}\n```"
        case "emotion":
            return f":{_string(item, 'emoji_type')}:"
        case "hr":
            return "---"
        case _:
            return text


def _files(item: Mapping[str, object]) -> Iterator[Attachment]:
    field, kind = {"img": ("image_key", "image"), "media": ("file_key", "video")}.get(
        str(item.get("tag")), ("", "")
    )
    if kind:
        key = read_fields(FileContent, {"file_key": item.get(field)}).file_key
        yield _attachment(kind, key)


def _attachment(kind: str, key: str, name: str | None = None) -> Attachment:
    return Attachment(type=kind, url=f"feishu:{key}", name=(name or "")[:MAX_NAME_CHARS] or None)


def _list(value: object, field: str = "") -> list[object]:
    found = value.get(field) if field and isinstance(value, dict) else value
    return found if isinstance(found, list) else []


def _string(values: Mapping[str, object], field: str) -> str:
    value = values.get(field)
    return str(storable(value)) if isinstance(value, str) else ""


_READERS: dict[str, Callable[[Mapping[str, object]], Content]] = {
    "text": _text,
    "post": _post,
    "image": _image,
    "file": _file("file"),
    "audio": _file("audio"),
    "media": _file("video"),
}
