"""What Mattermost's requests say: outgoing webhooks, slash commands and pressed buttons.

Sources: developers.mattermost.com, "Outgoing webhooks", "Custom slash commands", "Interactive
messages"; the server's `OutgoingWebhookPayload`, whose `timestamp` is milliseconds in JSON and
seconds in a form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from clawdbot.gateway.adapters.fields import Body, Content, Name
from clawdbot.gateway.adapters.platforms.forms import is_form, parse_form
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.messages import MAX_ATTACHMENTS, Attachment

SCHEME = "mattermost"
MAX_FILE_IDS_CHARS = 1024
OWN_COMMANDS = frozenset({"/approve", "/deny", "/stop"})
"""Commands whose name is what is said; of others only the text is."""
ID = re.compile(r"[a-z0-9]{26}")
_RESPONSE_URL = re.compile(r"https?://[^?#]+/hooks/commands/([a-z0-9]{26})")

Id = Annotated[str, Field(pattern=rf"^{ID.pattern}$")]
Seconds = Annotated[str, Field(pattern=r"^[0-9]{1,12}$")]


class Posted(Body):
    """A post that an outgoing webhook waits for."""

    channel_id: Id
    user_id: Id
    user_name: Name
    post_id: Id
    text: Content = ""
    trigger_word: Content = ""
    file_ids: Annotated[str, Field(max_length=MAX_FILE_IDS_CHARS)] = ""
    timestamp: Annotated[int, Field(ge=0)] | Seconds

    @property
    def at_s(self) -> int:
        """When it was posted, in Unix seconds."""
        if isinstance(self.timestamp, str):
            return int(self.timestamp)
        return self.timestamp // 1000

    @property
    def content(self) -> str:
        """The text without the word that called us, if anything is left."""
        text = self.text.strip()
        return text.removeprefix(self.trigger_word.strip()).lstrip(" \t:,") or text

    def attachments(self) -> tuple[Attachment, ...]:
        """Return the files; they are fetched with our token, so only their ids go on."""
        ids = [one for one in self.file_ids.split(",") if ID.fullmatch(one)]
        return tuple(
            Attachment(type="file", url=f"{SCHEME}:{one}") for one in ids[:MAX_ATTACHMENTS]
        )


class Command(Body):
    """A slash command, which Mattermost sends as a form."""

    command: Name
    text: Content = ""
    channel_id: Id
    user_id: Id
    trigger_id: Annotated[str, Field(min_length=1, max_length=1024)]
    response_url: Annotated[str, Field(max_length=2048)]

    @property
    def content(self) -> str:
        """What is said."""
        text = self.text.strip()
        if self.command in OWN_COMMANDS or not text:
            return f"{self.command} {text}".strip()
        return text

    @property
    def hook(self) -> str:
        """The id in `response_url`; its host is left alone, since ours to call is configured."""
        found = _RESPONSE_URL.fullmatch(self.response_url)
        if found is None:
            raise InvalidMessage("the field 'response_url' cannot be used", field="response_url")
        return found[1]


class Pressed(Body):
    """A button that somebody pressed."""

    user_id: Id
    channel_id: Id
    trigger_id: Annotated[str, Field(min_length=1, max_length=1024)]


def values_of(body: bytes) -> Mapping[str, Any]:
    """Return the fields of a request, a form or JSON.

    Raises:
        BadPayload: it is neither.
    """
    return parse_form(body) if is_form(body) else parse_object(body)
