"""Which records share a place in the log."""

from __future__ import annotations

from clawdbot.executor.adapters.bus_audit_log import audit_subject
from clawdbot.schema.executor import AuditEvent, AuditRecord
from clawdbot.schema.ids import Tenant


def _subject(event: AuditEvent, at_ms: int = 1, reason: str = "") -> str:
    record = AuditRecord(
        event=event,
        operation_id="op-1",
        at_ms=at_ms,
        user="alice",
        conversation_id="c1",
        instruction="system.info",
        reason=reason,
    )
    return audit_subject(Tenant("acme"), record)


def test_start_has_one_place_whenever_it_is_recorded() -> None:
    assert _subject(AuditEvent.STARTED, 1) == _subject(AuditEvent.STARTED, 2)


def test_each_refusal_has_a_place_of_its_own() -> None:
    places = {
        _subject(AuditEvent.REFUSED, at_ms, reason)
        for at_ms in (1, 2)
        for reason in ("conflict: a", "not_found: b")
    }

    assert len(places) == 4
