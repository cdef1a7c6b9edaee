"""The chat API's payload."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import uuid4

from clawdbot.gateway.adapters.fields import (
    Attachments,
    Body,
    Content,
    Name,
    read_fields,
    require_something_said,
)
from clawdbot.gateway.adapters.idempotency import request_key
from clawdbot.gateway.adapters.jwt_auth import Identity
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.gateway.domain.api_messages import api_submission
from clawdbot.gateway.domain.messages import Submission

DEFAULT_CONVERSATION = "default"
"""A user's own conversation when they name none; a fixed one, so that a retry is the same."""


class ChatBody(Body):
    """What a chat request may say."""

    content: Content
    conversation_id: Name = DEFAULT_CONVERSATION
    message_id: Name | None = None
    stream: bool = False
    attachments: Attachments = ()


@dataclass(frozen=True)
class ChatRequest:
    """A question, and how its asker wants the answer."""

    submission: Submission
    conversation_id: str
    """The conversation as its user calls it."""
    wants_stream: bool


def parse_chat(raw: bytes, identity: Identity, key: str | None = None) -> ChatRequest:
    """Return the request in `raw`; tenant and user come from the token, never from here.

    Args:
        raw: the body.
        identity: whose token came with it.
        key: the request's `Idempotency-Key`.

    Raises:
        BadPayload: not the JSON we accept.
        InvalidMessage: a field is missing or wrong.
    """
    body = read_fields(ChatBody, parse_object(raw))
    require_something_said(body.content, body.attachments)
    submission = api_submission(
        identity,
        body.conversation_id,
        body.content,
        # One of ours when there is none, which its asker is told to send it again.
        own_id=key or body.message_id or uuid4().hex,
        attachments=tuple(item.attachment() for item in body.attachments),
    )
    keyed = replace(
        submission, request_key=request_key(key, identity.subject, raw, body.message_id)
    )
    return ChatRequest(keyed, body.conversation_id, wants_stream=body.stream)
