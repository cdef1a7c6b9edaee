"""What a skill that is its own service is asked and answers."""

from __future__ import annotations

from pydantic import Field, JsonValue

from clawdbot.schema.messages import Attachment, InboundMessage
from clawdbot.schema.rpc import Rpc
from clawdbot.schema.wire import Wire

SERVICE = "skill"


class ExecuteRequest(Wire):
    """A message for one skill, with the arguments that routing found."""

    SCHEMA = "execute_request/1"

    operation_id: str = Field(min_length=1, max_length=64)
    message: InboundMessage
    arguments: dict[str, JsonValue] = {}


class ExecuteReply(Wire):
    """What the skill says."""

    SCHEMA = "execute_reply/1"

    content: str
    attachments: tuple[Attachment, ...] = ()


EXECUTE = Rpc(SERVICE, "execute", ExecuteRequest, ExecuteReply, needs_principal=True)
