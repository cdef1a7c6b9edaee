"""Messages of WeCom and WeChat, which have one format: XML fields as text and attachments.

Read are `text`, `image`, `voice`, `video`, `shortvideo`, `location` and `link`. Files are named
`<platform>:<media id>`, as fetching one takes the app's token; a picture has an address of its own.

Source: WeCom developer centre, "Message format"; WeChat service accounts, "Receiving standard
messages".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlencode

from pydantic import BeforeValidator, Field

from clawdbot.gateway.adapters.fields import Body, storable
from clawdbot.gateway.adapters.guarded_http import FileRequest
from clawdbot.gateway.adapters.platforms.interface import PlatformMessage
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.messages import Attachment

EVENT = "event"
Text = Annotated[str, BeforeValidator(storable)]
MediaName = Annotated[str, Field(pattern=r"^[!-~]{0,512}$")]


class Kind(Body):
    """Any callback."""

    MsgType: Text
    Event: Text = ""


class Said(Body):
    """A message; names are the platform's."""

    MsgType: Text
    MsgId: Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]
    FromUserName: Annotated[str, Field(pattern=r"^[0-9A-Za-z_-][0-9A-Za-z._@-]{0,63}$")]
    """Goes into the field of a send where `|` would separate and `@all` call everybody."""
    CreateTime: Annotated[str, Field(pattern=r"^[0-9]{10}$")]
    Content: Text = ""
    Recognition: Text = ""
    MediaId: MediaName = ""
    PicUrl: Annotated[str, Field(max_length=4096)] = ""
    Format: Text = ""
    Title: Text = ""
    Description: Text = ""
    Url: Text = ""
    Label: Text = ""
    Location_X: Text = ""
    Location_Y: Text = ""


MEDIA_PATH = "/cgi-bin/media/get"
Read = tuple[str, tuple[Attachment, ...]]


def message_of(platform: str, said: Said) -> PlatformMessage | None:
    """Return what a person said; None for kinds that are not read.

    Raises:
        InvalidMessage: a file has no id.
    """
    reader = _READERS.get(said.MsgType)
    if reader is None:
        return None
    content, attachments = reader(platform, said)
    return PlatformMessage(
        event_id=said.MsgId,
        sender_id=said.FromUserName,
        content=content,
        place=(said.FromUserName,),
        timestamp=int(said.CreateTime),
        attachments=attachments,
        address={"user": said.FromUserName},
    )


def has_address(attachment: Attachment) -> bool:
    """Return whether anybody can fetch the file, without a token of ours."""
    return attachment.url.startswith(("https://", "http://"))


def media_file(api_base: str, attachment: Attachment, token: str) -> FileRequest:
    """Return where a file that has only an id is; both platforms keep it for three days."""
    media_id = attachment.url.partition(":")[2]
    query = urlencode({"access_token": token, "media_id": media_id})
    return FileRequest.below(api_base, f"{MEDIA_PATH}?{query}")


def _text(platform: str, said: Said) -> Read:  # noqa: ARG001 -- as the other readers
    return said.Content, ()


def _image(platform: str, said: Said) -> Read:
    picture = Attachment(type="image", url=said.PicUrl)
    if has_address(picture):
        return "", (picture,)
    return "", (_file("image", platform, said),)


def _voice(platform: str, said: Said) -> Read:
    # Where the account has speech recognition, the words come along.
    return said.Recognition, (_file("audio", platform, said),)


def _video(platform: str, said: Said) -> Read:
    return "", (_file("video", platform, said),)


def _location(platform: str, said: Said) -> Read:  # noqa: ARG001 -- as the other readers
    return f"{said.Label} ({said.Location_X}, {said.Location_Y})".strip(), ()


def _link(platform: str, said: Said) -> Read:  # noqa: ARG001 -- as the other readers
    lines = (said.Title, said.Description, said.Url)
    return "\n".join(line for line in lines if line.strip()), ()


def _file(kind: str, platform: str, said: Said) -> Attachment:
    if not said.MediaId:
        raise InvalidMessage("the field 'MediaId' is missing", field="MediaId")
    return Attachment(type=kind, url=f"{platform}:{said.MediaId}")


_READERS: dict[str, Callable[[str, Said], Read]] = {
    "text": _text,
    "image": _image,
    "voice": _voice,
    "video": _video,
    "shortvideo": _video,
    "location": _location,
    "link": _link,
}
