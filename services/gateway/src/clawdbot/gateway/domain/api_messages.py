"""Messages of the API: what belongs to whoever holds a token, however they connect."""

from __future__ import annotations

from typing import Protocol

from clawdbot.gateway.domain.messages import API, Submission
from clawdbot.schema.ids import Tenant
from clawdbot.schema.messages import Attachment
from clawdbot.schema.principal import Scope


class Author(Protocol):
    """Who speaks, as their token says."""

    @property
    def tenant(self) -> Tenant:
        """Whose user it is."""
        ...

    @property
    def subject(self) -> str:
        """The user's name, within the tenant."""
        ...

    @property
    def scopes(self) -> frozenset[Scope]:
        """What the token grants."""
        ...


def api_place(author: Author, conversation: str) -> tuple[str, ...]:
    """Return the place of the conversation that `author` calls `conversation`."""
    return author.subject, conversation


def api_submission(
    author: Author,
    conversation: str,
    content: str = "",
    *,
    own_id: str = "",
    attachments: tuple[Attachment, ...] = (),
) -> Submission:
    """Return what `author` says in the conversation that they call `conversation`.

    Without content it is nothing to keep, but tells who speaks where.
    """
    return Submission(
        tenant=author.tenant,
        channel=API,
        platform=API,
        sender_id=author.subject,
        scopes=author.scopes,
        content=content,
        place=api_place(author, conversation),
        own_id=own_id,
        fallback_id="",
        attachments=attachments,
        conversation_name=conversation,
    )
