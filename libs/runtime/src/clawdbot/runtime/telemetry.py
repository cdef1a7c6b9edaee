"""Traces: W3C context in headers, spans with OpenTelemetry's conventions, export by OTLP/HTTP.

Without an endpoint nothing is recorded, yet every message still has a trace id to be found by.

Source: W3C Trace Context; OpenTelemetry semantic conventions 1.37 (messaging, rpc: Development).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import Token

from opentelemetry import propagate, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from clawdbot.runtime.config import Config

__all__ = ["Span", "SpanKind", "current_trace_id", "extracted", "inject", "queue_span", "span"]

_tracer = trace.get_tracer("clawdbot")
_ids = RandomIdGenerator()
_exporting = threading.Event()
"""Set while this process sends spans somewhere."""


@contextmanager
def tracing(service: str, config: Config) -> Iterator[None]:
    """Set up tracing for this process, and flush what is pending at the end."""
    endpoint = config.telemetry.otlp_endpoint
    sampler: Sampler = ParentBased(
        TraceIdRatioBased(config.telemetry.sample_ratio) if endpoint else ALWAYS_OFF
    )
    resource = Resource.create({"service.name": f"clawdbot-{service}"})
    provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
    if endpoint:
        _exporting.set()
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=5)
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
    propagate.set_global_textmap(TraceContextTextMapPropagator())
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        _exporting.clear()
        provider.shutdown()


def span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Context | None = None,
    **attributes: str | int | float | bool,
) -> AbstractContextManager[Span]:
    """Record what happens within as a span; an exception marks it as failed with its type.

    In a trace that is not sampled nothing is recorded and only the context is passed on, which
    costs a fifth of asking the SDK.

    Args:
        name: of low cardinality: a template, never an id.
        kind: what the span is to the other side.
        parent: the context it came with; the current one when not given.
        attributes: dots may be written as double underscores.
    """
    outer = trace.get_current_span(parent)
    found = outer.get_span_context()
    if found.is_valid and not found.trace_flags.sampled:
        return _Unrecorded(outer, parent)
    if not found.is_valid and not _exporting.is_set():
        return _Unrecorded(_fresh_span(), parent)
    return _recorded(name, kind, parent, attributes)


class _Unrecorded:
    """Stands for a span that nobody will see: passes the trace context on."""

    __slots__ = ("_context", "_span", "_token")

    def __init__(self, found: Span, parent: Context | None) -> None:
        self._span = found
        self._context = trace.set_span_in_context(found, parent)
        self._token: Token[Context] | None = None

    def __enter__(self) -> Span:
        self._token = attach(self._context)
        return self._span

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            detach(self._token)


def _fresh_span() -> Span:
    """Return the root of a trace that is not recorded, so that messages can still be found."""
    ids = trace.SpanContext(_ids.generate_trace_id(), _ids.generate_span_id(), is_remote=False)
    return trace.NonRecordingSpan(ids)


@contextmanager
def _recorded(
    name: str,
    kind: SpanKind,
    parent: Context | None,
    attributes: Mapping[str, str | int | float | bool],
) -> Iterator[Span]:
    named = {key.replace("__", "."): value for key, value in attributes.items()}
    with _tracer.start_as_current_span(
        name,
        context=parent,
        kind=kind,
        attributes=named,
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except BaseException as exc:
            current.set_attribute("error.type", type(exc).__name__)
            current.set_status(Status(StatusCode.ERROR))
            raise


def annotate(**attributes: str | int | float | bool) -> None:
    """Add to what the current span says; dots may be written as double underscores."""
    current = trace.get_current_span()
    for name, value in attributes.items():
        current.set_attribute(name.replace("__", "."), value)


def queue_span(name: str, parent: Context | None, stored_at_ns: int) -> None:
    """Record how long a message lay in its stream, from `stored_at_ns` (Unix) until now."""
    waited = _tracer.start_span(
        name, context=parent, kind=SpanKind.CONSUMER, start_time=stored_at_ns
    )
    waited.end(max(time.time_ns(), stored_at_ns))


def inject(headers: MutableMapping[str, str]) -> None:
    """Write the current trace context into `headers`, in lower case as NATS compares by case."""
    propagate.inject(headers)


def extracted(headers: Mapping[str, str] | None) -> Context:
    """Return the trace context that `headers` carry."""
    return propagate.extract(headers or {})


def current_trace_id() -> str | None:
    """Return the trace id as 32 hex digits, or None outside of any trace."""
    context = trace.get_current_span().get_span_context()
    return format(context.trace_id, "032x") if context.is_valid else None
