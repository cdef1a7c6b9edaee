"""What the executor is asked and answers. Nothing here is a command line: only named instructions.

A caller plans first, shows the plan where it must be approved, then runs exactly that plan.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from pydantic import Field, JsonValue

from clawdbot.schema.rpc import Rpc
from clawdbot.schema.wire import Wire

SERVICE = "executor"


class Risk(IntEnum):
    """What an instruction can do at worst."""

    READS_OWN_INPUT = 0
    WRITES_OWN_WORKSPACE = 1
    NETWORK_OR_USER_DATA = 2
    ARBITRARY_OR_IRREVERSIBLE = 3


class PlanRequest(Wire):
    """An instruction with its arguments, to be checked and rendered but not run."""

    SCHEMA = "plan_request/1"

    operation_id: str = Field(min_length=1, max_length=64)
    """Derived from message and step: planning or running it again gives the same result."""
    instruction: str = Field(min_length=1, max_length=64)
    arguments: dict[str, JsonValue] = {}


class ApprovalState(StrEnum):
    """Where an approval stands: pending, then approved, denied or expired; approved, then used."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    USED = "used"


class Approval(Wire):
    """A question to a person, bound to one plan, user and conversation."""

    SCHEMA = "approval/1"

    code: str
    """Answers name it; whoever else learns it can do nothing with it."""
    plan_hash: str
    rendered: str
    state: ApprovalState
    expires_at_ms: int
    """Until when it can be answered; once approved, until when the plan must have begun."""
    operation_id: str = ""
    instruction: str = ""
    arguments: dict[str, JsonValue] = {}
    """With the two above what `run` is asked for."""


class PlanReply(Wire):
    """What would be run, exactly."""

    SCHEMA = "plan_reply/1"

    operation_id: str
    plan_hash: str
    """SHA-256, hex, of the plan as canonical JSON (RFC 8785)."""
    risk: Risk
    needs_approval: bool
    rendered: str
    """The plan for a person to read, rendered from the plan itself."""
    approval: Approval | None = None
    """What a person has to answer first, when the plan needs it."""


class RunRequest(Wire):
    """Runs a planned operation."""

    SCHEMA = "run_request/1"

    operation_id: str = Field(min_length=1, max_length=64)
    plan_hash: str = Field(min_length=64, max_length=64)
    instruction: str
    arguments: dict[str, JsonValue] = {}


class Outcome(StrEnum):
    """How an operation ended."""

    FINISHED = "finished"
    TIMED_OUT = "timed_out"
    OUTPUT_LIMIT = "output_limit"
    MEMORY_LIMIT = "memory_limit"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    """The executor died between start and record; it is never run again silently."""


class Artifact(Wire):
    """A file that an operation left, kept in the object store."""

    SCHEMA = "artifact/1"

    name: str
    sha256: str
    size_bytes: int
    media_type: str


class RunReply(Wire):
    """What came of an operation; the same for every repetition of the request."""

    SCHEMA = "run_reply/1"

    operation_id: str
    plan_hash: str
    outcome: Outcome
    exit_status: int | None
    stdout: str
    """Bounded, decoded as UTF-8 with replacement."""
    stderr: str
    truncated: bool
    duration_ms: int
    artifacts: tuple[Artifact, ...] = ()


class StatusRequest(Wire):
    """Asks how an operation stands."""

    SCHEMA = "status_request/1"

    operation_id: str


class OperationState(StrEnum):
    """Where an operation stands."""

    UNKNOWN = "unknown"
    RUNNING = "running"
    DONE = "done"


class StatusReply(Wire):
    """Where the operation stands, with its result when it is done."""

    SCHEMA = "status_reply/1"

    state: OperationState
    result: RunReply | None = None


class CancelRequest(Wire):
    """Ends a running operation."""

    SCHEMA = "cancel_request/1"

    operation_id: str


class CancelReply(Wire):
    """Whether there was something to end."""

    SCHEMA = "cancel_reply/1"

    cancelled: bool


class Decision(StrEnum):
    """A person's answer."""

    APPROVE = "approve"
    DENY = "deny"


class DecideRequest(Wire):
    """A person's answer to a pending approval; only the gateway may send it."""

    SCHEMA = "decide_request/1"

    code: str = Field(min_length=1, max_length=32)
    decision: Decision


class DecideReply(Wire):
    """The approval after the answer."""

    SCHEMA = "decide_reply/1"

    approval: Approval


class ApprovalsRequest(Wire):
    """Asks what waits for the principal's user."""

    SCHEMA = "approvals_request/1"


class ApprovalsReply(Wire):
    """What waits."""

    SCHEMA = "approvals_reply/1"

    approvals: tuple[Approval, ...]


class AuditEvent(StrEnum):
    """What an audit record is about."""

    REQUESTED = "requested"
    REFUSED = "refused"
    STARTED = "started"
    FINISHED = "finished"
    APPROVED = "approved"
    DENIED = "denied"


class AuditRecord(Wire):
    """One system-level operation's step, written before the deed; bounded, without content."""

    SCHEMA = "audit_record/1"

    event: AuditEvent
    operation_id: str
    at_ms: int
    user: str
    conversation_id: str
    instruction: str
    plan_hash: str = ""
    outcome: str = ""
    reason: str = ""
    trace_id: str | None = None
    attempt: str = ""
    """Random; by which the writer knows its own record again when the confirmation was lost."""


PLAN = Rpc(SERVICE, "plan", PlanRequest, PlanReply, needs_principal=True)
RUN = Rpc(SERVICE, "run", RunRequest, RunReply, needs_principal=True)
STATUS = Rpc(SERVICE, "status", StatusRequest, StatusReply, needs_principal=True)
CANCEL = Rpc(SERVICE, "cancel", CancelRequest, CancelReply, needs_principal=True)
DECIDE = Rpc(SERVICE, "decide", DecideRequest, DecideReply, needs_principal=True)
APPROVALS = Rpc(SERVICE, "approvals", ApprovalsRequest, ApprovalsReply, needs_principal=True)
