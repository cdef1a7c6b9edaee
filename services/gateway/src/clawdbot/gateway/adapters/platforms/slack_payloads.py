"""What Slack's payloads say: events, slash commands and interactions, once they are authentic.

Sources (docs.slack.dev): "The Events API", reference of `message` and `app_mention`, "Implementing
slash commands", "Handling user interaction", "Formatting message text".
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, Strict

from clawdbot.gateway.adapters.fields import Body, Content, Name, read_fields, storable
from clawdbot.schema.messages import MAX_ATTACHMENTS, Attachment

MAX_NAME_CHARS = 255
SAID = frozenset({None, "file_share", "thread_broadcast", "me_message"})
"""Subtypes of what a person says; edits, deletions, joins and bots' messages have others."""
GONE = frozenset({"tombstone", "hidden_by_limit"})
"""Modes of files that nobody can fetch any more."""
SLACKBOT = "USLACKBOT"
KINDS = frozenset({"image", "audio", "video"})
_LINK = re.compile(r"<((?:https?://|mailto:)[^<>|]+)(?:\|[^<>]*)?>")

Moment = Annotated[str, Field(pattern=r"^[0-9]{1,12}\.[0-9]{1,9}$")]
"""Slack's `ts`: Unix seconds that are unique within a channel, as text."""
Label = Annotated[str | None, BeforeValidator(storable)]


class Authorization(Body):
    """An installation of ours that may see the event: our bot, or a person who let us in."""

    user_id: str | None = None
    is_bot: bool = False


class Envelope(Body):
    """What every JSON payload has."""

    type: str
    challenge: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    event: dict[str, object] | None = None
    authorizations: Annotated[tuple[Authorization, ...], Strict(False)] = ()

    @property
    def own_ids(self) -> frozenset[str]:
        """Users that are we, or Slack itself."""
        bots = {one.user_id for one in self.authorizations if one.is_bot and one.user_id}
        return frozenset(bots | {SLACKBOT})


class Kind(Body):
    """What tells a person's message from everything else that happens."""

    type: str
    subtype: str | None = None
    bot_id: str | None = None
    user: str | None = None
    hidden: bool = False
    edited: dict[str, object] | None = None

    def is_said_by_somebody_else(self, own_ids: frozenset[str]) -> bool:
        """Return whether a person, none of `own_ids`, says it for the first time."""
        return (
            self.type in {"message", "app_mention"}
            and self.subtype in SAID
            and self.user is not None
            and self.user not in own_ids
            and not (self.bot_id or self.hidden or self.edited)
        )


class File(Body):
    """A file that came with a message; its URLs need our token, so only its id goes on."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,64}$")]
    name: Label = None
    mimetype: Label = None
    mode: str | None = None

    def attachment(self) -> Attachment:
        """Return it as messages carry it."""
        media_type = (self.mimetype or "")[:MAX_NAME_CHARS] or None
        kind = (media_type or "").partition("/")[0]
        return Attachment(
            type=kind if kind in KINDS else "file",
            url=f"slack:{self.id}",
            name=self.name and self.name[:MAX_NAME_CHARS],
            media_type=media_type,
        )


class Said(Body):
    """A person's message."""

    channel: Name
    user: Name
    ts: Moment
    thread_ts: Moment | None = None
    text: Content | None = None
    files: Annotated[tuple[File, ...], Strict(False)] = ()

    @property
    def event_id(self) -> str:
        """The same for the `message` and the `app_mention` that one mention arrives as."""
        return f"{self.channel}:{self.ts}"

    @property
    def thread(self) -> str | None:
        """The thread that the reply belongs to: the message's own, else one under it.

        A direct conversation (ids with D) goes on without threads. The id tells, because a
        mention does not carry `channel_type`.
        """
        return self.thread_ts or (None if is_direct(self.channel) else self.ts)

    def content(self, own_ids: frozenset[str]) -> str:
        """Return the text as it was typed, without a mention of us in front."""
        text = (self.text or "").strip()
        for own in own_ids:
            text = text.removeprefix(f"<@{own}>").strip() or text
        return _typed(text)

    def attachments(self) -> tuple[Attachment, ...]:
        """Return the files that can still be fetched."""
        files = [file for file in self.files if file.mode not in GONE]
        return tuple(file.attachment() for file in files[:MAX_ATTACHMENTS])


class Command(Body):
    """A slash command, which Slack sends as a form."""

    command: Name
    text: Content = ""
    user_id: Name
    channel_id: Name
    trigger_id: Name
    response_url: Annotated[str, Field(min_length=1, max_length=2048)]


def said(event: dict[str, object], own_ids: frozenset[str]) -> Said | None:
    """Return what a person says in `event`, or None when it is anything else.

    Raises:
        InvalidMessage: a field that we need is missing or wrong.
    """
    if not read_fields(Kind, event).is_said_by_somebody_else(own_ids):
        return None
    return read_fields(Said, event)


def is_direct(channel: str) -> bool:
    """Return whether `channel` is one person's conversation with us."""
    return channel.startswith("D")


def escaped(text: str) -> str:
    """Return `text` so that Slack shows it and obeys nothing in it, such as `<!channel>`."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _typed(text: str) -> str:
    plain = _LINK.sub(r"\1", text)
    # The ampersand comes last: `&amp;lt;` was typed as `&lt;`.
    return plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
