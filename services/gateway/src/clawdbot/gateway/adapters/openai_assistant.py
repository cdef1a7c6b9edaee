"""Which message, of whom, in which conversation, a completion request to the assistant is."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

from clawdbot.gateway.adapters.chat import DEFAULT_CONVERSATION
from clawdbot.gateway.adapters.fields import read_name
from clawdbot.gateway.adapters.jwt_auth import Identity
from clawdbot.gateway.adapters.openai_requests import CompletionRequest
from clawdbot.gateway.domain.messages import API, DELEGABLE, OPENAI, Submission, framed
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.messages import MAX_CONTENT_CHARS

IDEMPOTENCY_KEY = "idempotency-key"
CONVERSATION = "x-conversation-id"
MAX_SENDER_CHARS = 256


def submission_of(
    asked: CompletionRequest, headers: Mapping[str, str], identity: Identity
) -> Submission:
    """Return the last message as the token's holder, or as one of the users they speak for.

    Such a user stands below the token's subject, on a channel where nobody else is: whatever name
    is given, it can be neither another token's subject nor a user of theirs.

    Raises:
        InvalidMessage: nothing was said, or a name cannot be used.
    """
    user = asked.body.user
    conversation_id = _conversation(asked, headers)
    place = (identity.subject, conversation_id)
    return Submission(
        tenant=identity.tenant,
        channel=API if user is None else OPENAI,
        platform=API if user is None else OPENAI,
        sender_id=identity.subject if user is None else _below(identity.subject, user),
        # What the holder may decide is not theirs to hand on with a name.
        scopes=identity.scopes if user is None else identity.scopes & DELEGABLE,
        content=_said(asked),
        place=place if user is None else (*place, user),
        own_id=_named(headers.get(IDEMPOTENCY_KEY), IDEMPOTENCY_KEY) or uuid4().hex,
        fallback_id="",
        conversation_name=conversation_id,
    )


def _conversation(asked: CompletionRequest, headers: Mapping[str, str]) -> str:
    """Return the conversation's name.

    No `metadata.conversation_id` and no header mean the one that a user has without naming any.
    """
    metadata = asked.body.metadata
    if isinstance(metadata, dict) and (given := metadata.get("conversation_id")) is not None:
        return _named(given, "metadata.conversation_id") or DEFAULT_CONVERSATION
    return _named(headers.get(CONVERSATION), CONVERSATION) or DEFAULT_CONVERSATION


def _named(value: object, field: str) -> str | None:
    return None if value is None else read_name(value, field)


def _below(subject: str, user: str) -> str:
    sender = framed(subject, user)
    if len(sender) > MAX_SENDER_CHARS:
        raise InvalidMessage("the field 'user' is too long", field="user", fix="shorten it")
    return sender


def _said(asked: CompletionRequest) -> str:
    field = f"messages.{len(asked.turns) - 1}"
    last = asked.turns[-1]
    if last.role != "user":
        raise InvalidMessage(
            "the last message is not the user's", field=f"{field}.role", fix="end with role 'user'"
        )
    if not last.content.strip() or len(last.content) > MAX_CONTENT_CHARS:
        raise InvalidMessage(
            "the last message is empty or too long",
            field=f"{field}.content",
            fix=f"send 1 to {MAX_CONTENT_CHARS} characters",
        )
    return last.content
