"""The few headers of a message on the bus; parsing them costs more than the body."""

from __future__ import annotations

from collections.abc import Mapping

from nats.aio.msg import Msg

from clawdbot.runtime.telemetry import inject
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import InvalidMessage

SCHEMA = "Claw-Schema"
DEADLINE = "Claw-Deadline"
PRINCIPAL = "Claw-Principal"
CALL = "Claw-Call"
"""Names a streamed call, so that its caller can renew or cancel it."""
INDEX = "Claw-Index"
"""Number of an item of a streamed answer, from 0."""
ALIVE = "Claw-Alive"
"""On a message without content: the answer is still being written."""
END = "Claw-End"
"""Present on the closing answer of a streamed call."""
ERROR = "Nats-Service-Error"
ERROR_CODE = "Nats-Service-Error-Code"
EXPECTED_LAST_SUBJECT_SEQUENCE = "Nats-Expected-Last-Subject-Sequence"
MESSAGE_ID = "Nats-Msg-Id"
STATUS = "Status"
NO_RESPONDERS = "503"


def outgoing(schema: str, deadline: Deadline, principal: str | None) -> dict[str, str]:
    """Return the headers of a request, with the current trace context."""
    found = {SCHEMA: schema, DEADLINE: str(deadline.ms)}
    if principal is not None:
        found[PRINCIPAL] = principal
    inject(found)
    return found


def kept(schema: str, valid_until: Deadline | None, principal: str | None) -> dict[str, str]:
    """Return the headers of a message that is stored."""
    found = {SCHEMA: schema}
    if valid_until is not None:
        found[DEADLINE] = str(valid_until.ms)
    if principal is not None:
        found[PRINCIPAL] = principal
    return found


def deadline_of(found: Mapping[str, str]) -> Deadline | None:
    """Return the deadline in `found`, or None when there is none.

    Raises:
        InvalidMessage: it is no number.
    """
    value = found.get(DEADLINE)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 16):
        raise InvalidMessage("the deadline is not Unix milliseconds", field=DEADLINE)
    return Deadline.from_ms(int(value))


def is_end(msg: Msg) -> bool:
    """Return whether `msg` closes a streamed answer; an error always does."""
    found = msg.headers or {}
    return END in found or ERROR_CODE in found


def index(msg: Msg) -> int:
    """Return the number of an item, or -1 when it has none."""
    value = (msg.headers or {}).get(INDEX, "")
    return int(value) if value.isascii() and value.isdigit() else -1


def is_no_responders(msg: Msg) -> bool:
    """Return whether the broker says that nobody serves the address."""
    return not msg.data and (msg.headers or {}).get(STATUS) == NO_RESPONDERS
