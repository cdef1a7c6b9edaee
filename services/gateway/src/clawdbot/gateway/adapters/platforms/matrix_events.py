"""What a homeserver tells an application service: events of rooms, invitations among them.

Sources: Matrix specification v1.11, Application Service API ("Pushing events"), Client-Server API
("Room events", "Instant messaging", "Threading", "Event replacements", "User and room mentions").
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, Strict

from clawdbot.gateway.adapters.fields import Body, Content, Name, storable
from clawdbot.schema.messages import Attachment

MESSAGE, MEMBER = "m.room.message", "m.room.member"
WORDS = frozenset({"m.text", "m.emote"})
"""Notices are what bots say: nobody answers them ("m.notice")."""
FILES = {"m.image": "image", "m.audio": "audio", "m.video": "video", "m.file": "file"}
MXC = re.compile(r"mxc://([A-Za-z0-9.:\[\]-]{1,255})/([A-Za-z0-9_-]{1,255})")

RoomId = Annotated[str, Field(pattern=r"^![^\x00-\x1f\x7f/?#]{1,254}$")]
EventId = Annotated[str, Field(pattern=r"^\$[^\x00-\x1f\x7f/?#]{1,254}$")]
UserId = Annotated[str, Field(pattern=r"^@[^\x00-\x1f\x7f/?#]{1,254}$")]
Label = Annotated[str | None, BeforeValidator(storable)]


class Transaction(Body):
    """What a homeserver pushes; what else it holds is of no use to us."""

    events: Annotated[tuple[dict[str, Any], ...], Strict(False)]


class Kind(Body):
    """As much of an event as tells whether it is for us."""

    type: str
    sender: str = ""
    state_key: str | None = None


class Relation(Body):
    """What an event is about."""

    rel_type: str | None = None
    event_id: str | None = None


class Info(Body):
    """Of a file."""

    mimetype: Label = None


class Mentions(Body):
    """Who is called."""

    user_ids: Annotated[tuple[str, ...], Strict(False)] = ()


class Said(Body):
    """The content of a message."""

    msgtype: str = ""
    body: Content = ""
    filename: Label = None
    url: str | None = None
    """Of a file; files of encrypted rooms have none."""
    info: Info | None = None
    relation: Annotated[Relation | None, Field(alias="m.relates_to")] = None
    mentions: Annotated[Mentions | None, Field(alias="m.mentions")] = None

    @property
    def thread(self) -> str | None:
        """The first event of the thread, if the message is in one."""
        relation = self.relation
        if relation is None or relation.rel_type != "m.thread":
            return None
        return relation.event_id

    @property
    def is_edit(self) -> bool:
        """Whether it rewrites an earlier message."""
        return self.relation is not None and self.relation.rel_type == "m.replace"

    @property
    def text(self) -> str:
        """What is said; the body of a file without a caption is its name."""
        if self.msgtype in WORDS:
            return self.body
        has_caption = self.filename is not None and self.filename != self.body
        return self.body if has_caption else ""

    def attachments(self) -> tuple[Attachment, ...]:
        """Return the file; its address is the homeserver's own, which wants our token."""
        if self.msgtype not in FILES or not MXC.fullmatch(self.url or ""):
            return ()
        media_type = self.info.mimetype if self.info is not None else None
        return (
            Attachment(
                type=FILES[self.msgtype],
                url=self.url or "",
                name=(self.filename or self.body)[:255] or None,
                media_type=media_type and media_type[:255],
            ),
        )


class Message(Body):
    """Somebody's message."""

    event_id: EventId
    room_id: RoomId
    sender: UserId
    origin_server_ts: Annotated[int, Field(ge=0)]
    content: Said


class Membership(Body):
    """What becomes of somebody in a room."""

    membership: str


class Invitation(Body):
    """Somebody's membership of a room changes."""

    room_id: RoomId
    sender: UserId
    state_key: Name
    content: Membership


def server_of(user_id: str) -> str:
    """Return the homeserver of a user."""
    return user_id.partition(":")[2]


def without_name(text: str, user_id: str) -> str:
    """Return `text` without our name in front, as clients put it there to call us."""
    local = re.escape(user_id[1:].partition(":")[0])
    called = rf"\A\s*(?:{re.escape(user_id)}[:,]?|@?{local}[:,])\s*(?=\S)"
    return re.sub(called, "", text, flags=re.IGNORECASE)
