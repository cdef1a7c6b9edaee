"""Webhooks of the WhatsApp Business Platform: which messages a person sent us, and what they say.

A person is named by their business-scoped user id (`from_user_id`) where Meta gives it, else by
their phone number: the number is left out for people with a username, may come and go, and is
given to somebody else one day.

Sources (developers.facebook.com, WhatsApp Business Platform): "messages webhook reference",
"Business-scoped user IDs", "Interactive reply buttons messages".
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from clawdbot.gateway.adapters.fields import Body, Content, Label, Name
from clawdbot.gateway.adapters.platforms.buttons import is_ours
from clawdbot.schema.messages import Attachment

SCHEME = "whatsapp"
BUSINESS, MESSAGES = "whatsapp_business_account", "messages"
DOCUMENT = "document"

Digits = Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]


class Text(Body):
    """What was typed."""

    body: Content


class Media(Body):
    """A file, which only our token can fetch."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
    caption: Content = ""
    filename: Label | None = None
    mime_type: Label | None = None


class Choice(Body):
    """A button of ours that was pressed."""

    id: Content


class Interactive(Body):
    """An answer to a message with buttons or a list."""

    type: str
    button_reply: Choice | None = None


class Said(Body):
    """One message."""

    id: Name
    type: str
    timestamp: Annotated[str, Field(pattern=r"^[0-9]{1,12}$")]
    phone: Annotated[Digits | None, Field(alias="from")] = None
    from_user_id: Name | None = None
    group_id: Name | None = None
    """Groups have rules of their own; what is said there is left alone."""
    text: Text | None = None
    image: Media | None = None
    video: Media | None = None
    audio: Media | None = None
    document: Media | None = None
    interactive: Interactive | None = None

    @property
    def sender_id(self) -> str | None:
        """Who sent it."""
        return self.from_user_id or self.phone

    @property
    def content(self) -> str | None:
        """What it says, "" for a file alone; None for what is not said to us."""
        if self.type == "text" and self.text is not None:
            return self.text.body if self.text.body.strip() else None
        if self.type == "interactive" and self.interactive is not None:
            choice = self.interactive.button_reply
            return choice.id if choice is not None and is_ours(choice.id) else None
        return None if self._media is None else self._media.caption

    @property
    def _media(self) -> Media | None:
        # Stickers and places say nothing that we could answer.
        files = {"image": self.image, "video": self.video, "audio": self.audio}
        return {**files, DOCUMENT: self.document}.get(self.type)

    def attachments(self) -> tuple[Attachment, ...]:
        """Return the file that it is, by WhatsApp's id."""
        media = self._media
        if media is None:
            return ()
        return (
            Attachment(
                type="file" if self.type == DOCUMENT else self.type,
                url=f"{SCHEME}:{media.id}",
                name=media.filename,
                media_type=media.mime_type,
            ),
        )


class Metadata(Body):
    """The number of ours that it is about."""

    phone_number_id: Digits


class Fault(Body):
    """Why a message of ours did not arrive."""

    code: int = 0


class Status(Body):
    """What became of a message of ours."""

    status: str = ""
    errors: Annotated[tuple[Fault, ...], Strict(False)] = ()


class Value(Body):
    """What changed."""

    metadata: Metadata
    messages: Annotated[tuple[dict[str, object], ...], Strict(False)] = ()
    statuses: Annotated[tuple[Status, ...], Strict(False)] = ()


class Change(Body):
    """A change of whatever kind."""

    field: str
    value: dict[str, object]


class Entry(Body):
    """Changes of one business account."""

    changes: Annotated[tuple[Change, ...], Strict(False)] = ()


class Notification(Body):
    """A request's body."""

    kind: Annotated[str, Field(alias="object")]
    entry: Annotated[tuple[Entry, ...], Strict(False)] = ()

    @property
    def values(self) -> list[dict[str, object]]:
        """What changed about messages; other fields may be subscribed to as well."""
        if self.kind != BUSINESS:
            return []
        changes = [change for entry in self.entry for change in entry.changes]
        return [change.value for change in changes if change.field == MESSAGES]
