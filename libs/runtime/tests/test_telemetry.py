"""Trace context: passed on cheaply when nothing is recorded, never lost."""

from __future__ import annotations

import pytest

from clawdbot.runtime.telemetry import current_trace_id, extracted, inject, span

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def test_every_message_has_a_trace_id_even_when_nothing_is_exported() -> None:
    assert current_trace_id() is None
    with span("outer"):
        outer = current_trace_id()
        with span("inner"):
            assert current_trace_id() == outer

    assert outer is not None
    assert current_trace_id() is None


@pytest.mark.parametrize("traceparent", [SAMPLED, UNSAMPLED])
def test_a_trace_that_came_with_a_message_goes_on(traceparent: str) -> None:
    headers: dict[str, str] = {}

    with span("process", parent=extracted({"traceparent": traceparent})):
        inject(headers)
        assert current_trace_id() == "0af7651916cd43dd8448eb211c80319c"

    assert headers["traceparent"].split("-")[1] == "0af7651916cd43dd8448eb211c80319c"
    assert current_trace_id() is None


@pytest.mark.parametrize("broken", ["", "00-xyz", "é", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_broken_header_starts_a_trace_of_its_own(broken: str) -> None:
    with span("process", parent=extracted({"traceparent": broken})):
        assert current_trace_id() not in (None, "0" * 32)


def test_an_exception_passes_through_and_leaves_no_context() -> None:
    with pytest.raises(KeyError), span("outer"):
        raise KeyError

    assert current_trace_id() is None
