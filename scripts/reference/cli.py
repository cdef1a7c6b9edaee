"""`docs/cli.md`: every verb of the `clawdbot` command, with its arguments and options."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from clawdbot.cli.main import app
from scripts.reference.markdown import code, page, table

INTRODUCTION = """\
`--help` after any verb prints the same. Exit status 0 means done; 1 that it failed, with the reason
on standard error; 2 that the arguments or the configuration are wrong."""


def document() -> str:
    """Return the document."""
    # An explicit width: the document must not depend on the terminal that it was written in.
    top = typer.Context(typer.main.get_command(app), info_name="clawdbot", terminal_width=100)
    return page("The `clawdbot` command", INTRODUCTION, *_sections(top))


def _sections(context: typer.Context) -> Iterator[str]:
    yield _section(context)
    # Typed loosely: whether typer brings click or a copy of it depends on its version.
    group: Any = context.command
    for name, command in sorted(getattr(group, "commands", {}).items()):
        inner = typer.Context(command, info_name=name, parent=context, terminal_width=100)
        yield from _sections(inner)


def _section(context: typer.Context) -> str:
    usage = " ".join(context.get_usage().removeprefix("Usage: ").split())
    parts = [f"## {code(context.command_path)}", (context.command.help or "").strip()]
    parts.append(f"```\n{usage}\n```")
    rows = [_row(*record) for record in _records(context)]
    if rows:
        parts.append(table(("argument or option", "meaning"), rows))
    return "\n\n".join(parts)


def _records(context: typer.Context) -> Iterator[tuple[str, str]]:
    for parameter in context.command.params:
        record = parameter.get_help_record(context)
        if record is not None:
            yield record


def _row(names: str, meaning: str) -> tuple[str, str]:
    return code(names), " ".join(meaning.split())
