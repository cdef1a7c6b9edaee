"""One message, one trace, through all five services."""

from __future__ import annotations

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.integration.system import Collector, System, until

EVERYBODY = {
    f"clawdbot-{name}" for name in ("gateway", "assistant", "inference", "memory", "executor")
}


def test_one_trace_holds_spans_of_all_five_services_with_right_parents(
    system: System, collector: Collector
) -> None:
    reply = system.ask("/sysinfo", sender="traced")
    trace_id = reply["metadata"]["trace_id"]

    def is_complete() -> bool:
        trace = collector.trace(trace_id)
        names = {span.name for _, span in trace}
        return {who for who, _ in trace} == EVERYBODY and {
            "process claw.in",
            "send claw.out",
        } <= names

    until(is_complete, 20, "the whole trace")
    trace = Trace(collector.trace(trace_id))

    assert len(trace.roots()) == 1
    assert trace.roots()[0].kind == Span.SPAN_KIND_SERVER
    assert trace.path("clawdbot-assistant", "process claw.in") == [
        ("clawdbot-assistant", "process claw.in"),
        ("clawdbot-gateway", "send claw.in"),
        ("clawdbot-gateway", trace.roots()[0].name),
    ]
    assert ("clawdbot-assistant", "queue claw.in") in trace.names()
    for service, method in (("memory", "memory.recall"), ("executor", "executor.run")):
        path = trace.path(f"clawdbot-{service}", method)
        assert path[1] == ("clawdbot-assistant", method)
        assert ("clawdbot-assistant", "process claw.in") in path
    embedding = trace.path("clawdbot-inference", "inference.embed")
    assert embedding[1] == ("clawdbot-memory", "inference.embed")
    assert ("clawdbot-memory", "memory.recall") in embedding


class Trace:
    """Spans by id, to walk from a span to its root."""

    def __init__(self, spans: list[tuple[str, Span]]) -> None:
        self._spans = {span.span_id: (who, span) for who, span in spans}

    def roots(self) -> list[Span]:
        return [span for _, span in self._spans.values() if not span.parent_span_id]

    def names(self) -> set[tuple[str, str]]:
        return {(who, span.name) for who, span in self._spans.values()}

    def path(self, service: str, name: str) -> list[tuple[str, str]]:
        """Return (service, span name) from the named server-side span up to the root."""
        _, span = next(
            (who, span)
            for who, span in self._spans.values()
            if (who, span.name) == (service, name) and span.kind != Span.SPAN_KIND_CLIENT
        )
        path = [(service, span.name)]
        while span.parent_span_id:
            assert span.parent_span_id in self._spans, f"the parent of {path[-1]} is missing"
            who, span = self._spans[span.parent_span_id]
            path.append((who, span.name))
        return path
