"""`docs/metrics.md`: every Prometheus metric of the runtime and the services."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from prometheus_client.metrics import MetricWrapperBase

from scripts.reference.markdown import code, codes, page, table
from scripts.reference.sources import ROOT, services, summary

INTRODUCTION = """\
Every service answers `GET /metrics` beside `/healthz`, `/readyz` and `/startupz` on its port of
`ops.health_ports` (see [configuration](configuration.md)). The gateway's public port shows its
health, too, but no metrics. No label names a tenant, a user or a conversation.

A histogram gives `<name>_bucket`, `<name>_sum` and `<name>_count`; an info is a gauge of value 1
whose labels are what it says."""


def document() -> str:
    """Return the document."""
    return page("Metrics", INTRODUCTION, *(_section(*found) for found in metric_modules()))


def metric_modules() -> Iterator[tuple[str, str]]:
    """Yield where metrics are defined: who has them, and the module."""
    yield "Every service", "clawdbot.runtime.metrics"
    for service in services():
        path = f"services/{service}/src/clawdbot/{service}/adapters/metrics.py"
        if (ROOT / path).is_file():
            yield f"`{service}`", f"clawdbot.{service}.adapters.metrics"


def _section(owner: str, module_name: str) -> str:
    module = import_module(module_name)
    found = [value for value in vars(module).values() if isinstance(value, MetricWrapperBase)]
    rows = sorted(_row(metric) for metric in found)
    described = table(("name", "type", "labels", "meaning"), rows)
    return f"## {owner}\n\n{summary(module)}\n\n{described}"


def _row(metric: MetricWrapperBase) -> tuple[str, str, str, str]:
    (family,) = metric.describe()
    # The library keeps the suffix of the exposition format apart from the name.
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    return code(family.name + suffix), family.type, codes(metric._labelnames), family.documentation
