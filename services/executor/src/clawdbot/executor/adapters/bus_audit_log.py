"""The audit log in the `AUDIT` stream, to which this service may only append."""

from __future__ import annotations

from clawdbot.runtime.bus import Bus
from clawdbot.runtime.telemetry import current_trace_id
from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.executor import AuditEvent, AuditRecord
from clawdbot.schema.ids import Tenant, derived
from clawdbot.schema.streams import AUDIT


class BusAuditLog:
    """Keeps each event of an operation under a subject of its own, which the broker fills once."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def record(self, tenant: Tenant, record: AuditRecord, deadline: Deadline) -> bool:
        """Keep `record`; return once the broker has it, and whether its subject was empty."""
        traced = record.model_copy(update={"trace_id": current_trace_id()})
        stored = await self._bus.store_once(
            audit_subject(tenant, record), traced, deadline=deadline
        )
        return stored.is_new

    async def find(
        self, tenant: Tenant, like: AuditRecord, deadline: Deadline
    ) -> AuditRecord | None:
        """Return the record under the subject that `like` belongs to, or None."""
        subject = audit_subject(tenant, like)
        kept = await self._bus.read_last(AUDIT, subject, AuditRecord, deadline=deadline)
        return None if kept is None else kept.message


def audit_subject(tenant: Tenant, record: AuditRecord) -> str:
    """Return where `record` belongs; what must happen once has one place."""
    # Each part by itself first: an operation's id may be any text, separators included.
    about = (derived(record.user), derived(record.operation_id))
    return subjects.audit(tenant, derived(*about, record.event, *_distinction(record)))


def _distinction(record: AuditRecord) -> tuple[str, ...]:
    """Return what tells refusals of one operation apart; every other event happens once."""
    if record.event is not AuditEvent.REFUSED:
        return ()
    return derived(record.reason), str(record.at_ms), record.attempt
