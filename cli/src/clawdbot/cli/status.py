"""`clawdbot status`: what each service says of itself."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from clawdbot.cli.readiness import Report


def status_table(reports: Mapping[str, Report]) -> Table:
    """Return one row per service: whether it is ready, and what it lacks."""
    table = Table("service", "state", "says")
    for name, report in reports.items():
        says = [
            *report.failing.values(),
            *(f"warning: {text}" for text in report.warnings.values()),
        ]
        state = "[green]ready[/]" if report.is_ready else "[red]not ready[/]"
        table.add_row(name, state, "\n".join(says).replace("[", "\\["))
    return table
