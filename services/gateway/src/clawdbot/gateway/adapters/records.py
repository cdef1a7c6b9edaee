"""The JSON that the edge answers with."""

from __future__ import annotations

from dataclasses import dataclass

from clawdbot.schema.messages import InboundMessage, OutboundMessage


@dataclass(frozen=True)
class Links:
    """Where things of ours are found.

    Attributes:
        public_url: how the outside reaches the gateway, without a slash at the end, or "".
        messages_path: the path below which messages are.
    """

    public_url: str
    messages_path: str

    def status_of(self, message_id: str) -> str:
        """Return where it can be asked how a message stands."""
        return f"{self.public_url}{self.messages_path}/{message_id}"


def accepted_record(message: InboundMessage, links: Links) -> dict[str, object]:
    """Return what is said of a kept message; the same for every repetition."""
    return {
        "message_id": message.message_id,
        "conversation_id": message.conversation_id,
        "status": "accepted",
        "status_url": links.status_of(message.message_id),
    }


def metadata_record(reply: OutboundMessage) -> dict[str, object]:
    """Return what a developer wants to know of an answer, and what it asks to be approved."""
    record = reply.metadata.model_dump(mode="json", exclude_none=True)
    if reply.approval is not None:
        shown = {"code", "rendered", "instruction", "expires_at_ms"}
        record["approval"] = reply.approval.model_dump(mode="json", include=shown)
    return record


def answer_record(reply: OutboundMessage, conversation_id: str) -> dict[str, object]:
    """Return an answer, in the conversation as its asker calls it."""
    return {
        "message_id": reply.message_id,
        "conversation_id": conversation_id,
        "content": reply.content,
        "attachments": attachments_record(reply),
        "metadata": metadata_record(reply),
    }


def stored_record(reply: OutboundMessage) -> dict[str, object]:
    """Return a stored reply, error or not, without its ids."""
    return {
        "content": reply.content,
        "kind": reply.kind.value,
        "attachments": attachments_record(reply),
        "metadata": metadata_record(reply),
        "timestamp": reply.created_at_ms // 1000,
    }


def attachments_record(reply: OutboundMessage) -> list[dict[str, object]]:
    """Return the files that go with a reply."""
    return [item.model_dump(mode="json", exclude_none=True) for item in reply.attachments]
