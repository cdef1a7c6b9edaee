"""What a platform's message becomes in the gateway: checked, whatever the adapter let through."""

from __future__ import annotations

from typing import Any

from clawdbot.gateway.adapters.fields import Attachments, Body, Name, read_fields, storable
from clawdbot.gateway.adapters.platforms.addresses import packed
from clawdbot.gateway.adapters.platforms.interface import Account, PlatformMessage
from clawdbot.gateway.domain.messages import WEBHOOK_SCOPES, Submission
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.messages import MAX_CONTENT_CHARS

LATEST_TIMESTAMP = 253_402_300_799
"""The end of the year 9999, the last second that a message can carry."""


class _Fields(Body):
    event_id: Name
    sender_id: Name
    thread_id: Name | None
    attachments: Attachments


def submission_of(account: Account[Any], message: PlatformMessage) -> Submission:
    """Return `message` as one of `account`.

    Raises:
        InvalidMessage: an id is empty, too long or has control characters, nothing is said, or a
            field is longer than a message may be.
    """
    values = {
        "event_id": message.event_id,
        "sender_id": message.sender_id,
        "thread_id": message.thread_id,
        "attachments": [item.model_dump() for item in message.attachments],
    }
    fields = read_fields(_Fields, values)
    content = str(storable(message.content))
    if not content.strip() and not message.attachments:
        raise InvalidMessage("the message is empty", field="content")
    if len(content) > MAX_CONTENT_CHARS:
        raise InvalidMessage("the message is too long", field="content")
    timestamp = message.timestamp
    if timestamp is not None and not 0 <= timestamp <= LATEST_TIMESTAMP:
        raise InvalidMessage("the message has no possible time", field="timestamp")
    return Submission(
        tenant=account.tenant,
        channel=account.channel,
        platform=account.platform,
        sender_id=message.sender_id,
        scopes=WEBHOOK_SCOPES,
        content=content,
        place=message.place,
        own_id=message.event_id,
        fallback_id="",
        timestamp=timestamp,
        attachments=tuple(item.attachment() for item in fields.attachments),
        thread_id=message.thread_id,
        reply_to=packed(message.address),
        seals_reply=message.holds_token,
        in_group=message.in_group,
    )
