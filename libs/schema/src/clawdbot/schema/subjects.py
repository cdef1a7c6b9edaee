"""Every subject that exists, built and parsed here and nowhere else.

Each builder takes tokens of ours (`clawdbot.schema.ids`) and refuses anything else, so no input
can add a level or a wildcard to an address.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import NamedTuple

from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant, token

ROOT = "claw"
ALL_INBOUND = f"{ROOT}.in.>"
ALL_TURNS = f"{ROOT}.turn.>"
ALL_OUTBOUND = f"{ROOT}.out.>"
ALL_DEAD = f"{ROOT}.dead.>"
ALL_AUDIT = f"{ROOT}.audit.>"
ALL_OPERATOR_DEEDS = f"{ROOT}.operator.>"
ALL_MEMORY_CHANGES = f"{ROOT}.mem.change.>"
ALL_DELTAS = f"{ROOT}.stream.>"
ALL_SIGNALS = f"{ROOT}.signal.>"
ADVISORIES = (
    "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>",
    "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>",
)
MEMORY_SHARDS = 256
BLOB_CONTENT, BLOB_INFO = "$O.blobs.C", "$O.blobs.M"


class Lane(NamedTuple):
    """What is handled in order: one conversation, within its channel where there is one."""

    key: str
    """Names the lane in the lease and progress buckets."""
    filter_subject: str
    """Matches every message of the lane in its stream."""


class Inbound(NamedTuple):
    """The parts of an inbound subject."""

    tenant: Tenant
    conversation_id: ConversationId
    message_id: MessageId


class Outbound(NamedTuple):
    """The parts of an outbound subject."""

    channel: Channel
    tenant: Tenant
    conversation_id: ConversationId
    message_id: MessageId
    part: int


def inbound(tenant: Tenant, conversation: ConversationId, message: MessageId) -> str:
    """Return where a normalised message is stored, once."""
    return _join("in", tenant, conversation, message)


def inbound_of(tenant: Tenant, conversation: ConversationId) -> str:
    """Return the filter over all messages of one conversation."""
    return f"{_join('in', tenant, conversation)}.*"


def inbound_by_id(tenant: Tenant, message: MessageId) -> str:
    """Return the filter that finds one message of a tenant in whatever conversation."""
    return f"{_join('in', tenant)}.*.{token(message, 'message_id')}"


def parse_inbound(subject: str) -> Inbound:
    """Return the parts of `subject`.

    Raises:
        InvalidMessage: not an inbound subject.
    """
    tenant, conversation, message = _split(subject, "in", 3)
    return Inbound(Tenant(tenant), ConversationId(conversation), MessageId(message))


def turn(tenant: Tenant, conversation: ConversationId, message: MessageId, step: int) -> str:
    """Return where one step of a turn's journal is stored, once."""
    return _join("turn", tenant, conversation, message, str(step))


def outbound(
    channel: Channel,
    tenant: Tenant,
    conversation: ConversationId,
    message: MessageId,
    part: int,
) -> str:
    """Return where one part of a reply is stored, once."""
    return _join("out", channel, tenant, conversation, message, str(part))


def outbound_of_channel(channel: Channel) -> str:
    """Return the filter over everything that one channel account delivers."""
    return f"{_join('out', channel)}.>"


def outbound_of_conversation(channel: Channel, tenant: Tenant, conversation: ConversationId) -> str:
    """Return the filter over one conversation's replies within a channel."""
    return f"{_join('out', channel, tenant, conversation)}.>"


def outbound_of_message(
    channel: Channel, tenant: Tenant, conversation: ConversationId, message: MessageId
) -> str:
    """Return the filter over all parts of the reply to one message."""
    return f"{_join('out', channel, tenant, conversation, message)}.*"


def parse_outbound(subject: str) -> Outbound:
    """Return the parts of `subject`.

    Raises:
        InvalidMessage: not an outbound subject.
    """
    channel, tenant, conversation, message, part = _split(subject, "out", 5)
    if not part.isascii() or not part.isdigit():
        raise InvalidMessage(f"{subject!r} has no part number", field="subject")
    return Outbound(
        Channel(channel),
        Tenant(tenant),
        ConversationId(conversation),
        MessageId(message),
        int(part),
    )


def lane(subject: str) -> Lane:
    """Return the lane of an inbound or outbound subject.

    Raises:
        InvalidMessage: neither of them.
    """
    if subject.startswith(f"{ROOT}.out."):
        out = parse_outbound(subject)
        key = f"{out.channel}.{out.tenant}.{out.conversation_id}"
        return Lane(key, outbound_of_conversation(out.channel, out.tenant, out.conversation_id))
    into = parse_inbound(subject)
    key = f"{into.tenant}.{into.conversation_id}"
    return Lane(key, inbound_of(into.tenant, into.conversation_id))


def dead(stream: str, reason: str) -> str:
    """Return where what was given up on is kept, by origin and reason (an error code)."""
    return _join("dead", stream, reason)


def audit(tenant: Tenant, operation: str) -> str:
    """Return where the executor records what it is about to do and what came of it."""
    return _join("audit", tenant, operation)


def operator_deed(deed: str, number: str) -> str:
    """Return where an operator records what they are about to do, each time anew."""
    return _join("operator", deed, number)


def memory_change(shard: int) -> str:
    """Return where hints about changed memories of a shard are published."""
    return _join("mem", "change", str(shard))


def rpc(service: str, verb: str, target: str | None = None) -> str:
    """Return an rpc's address, such as `claw.rpc.inference.<model>.chat`."""
    middle = (service,) if target is None else (service, target)
    return _join("rpc", *middle, verb)


def rpc_of(service: str) -> str:
    """Return the filter over all rpc of a service."""
    return f"{_join('rpc', service)}.>"


def rpc_of_verb(service: str, verb: str) -> str:
    """Return the filter over one verb of whatever target of a service."""
    return f"{_join('rpc', service)}.*.{token(verb, 'verb')}"


def call(service: str, call_id: str) -> str:
    """Return where a caller renews or cancels a streamed call; every replica hears it."""
    return _join("call", service, call_id)


def calls_of(service: str) -> str:
    """Return the filter over the renewals and cancellations for a service."""
    return f"{_join('call', service)}.*"


def deltas(conversation: ConversationId) -> str:
    """Return where a reply's tokens are broadcast while it is being written; never stored."""
    return _join("stream", conversation)


def signal(conversation: ConversationId) -> str:
    """Return where stop, steer and interrupt reach whoever holds the turn."""
    return _join("signal", conversation)


def edge_counts() -> str:
    """Return where gateway replicas tell each other how much came to them; never stored."""
    return _join("edge", "counts")


def blob_content(upload: str) -> str:
    """Return where the chunks of one upload lie (NATS ADR-20)."""
    return f"{BLOB_CONTENT}.{token(upload, 'upload')}"


def blob_info(sha256: str) -> str:
    """Return where it stands which upload holds this content (NATS ADR-20)."""
    name = urlsafe_b64encode(token(sha256, "sha256").encode()).decode("ascii")
    return f"{BLOB_INFO}.{name}"


def _join(*tokens: str) -> str:
    return ".".join((ROOT, *(token(part, "subject") for part in tokens)))


def _split(subject: str, kind: str, count: int) -> list[str]:
    root, _, rest = subject.partition(".")
    parts = rest.split(".")
    if root != ROOT or parts[0] != kind or len(parts) != count + 1:
        raise InvalidMessage(f"{subject!r} is not a {ROOT}.{kind} subject", field="subject")
    return [token(part, "subject") for part in parts[1:]]
