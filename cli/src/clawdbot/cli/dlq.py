"""`clawdbot dlq`: what was given up on, and what to do about it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from clawdbot.cli.failures import explained
from clawdbot.cli.log_lines import printable
from clawdbot.cli.options import config_path
from clawdbot.runtime.config import load_config
from clawdbot.runtime.secrets import Secrets
from clawdbot.schema.messages import DeadLetter

if TYPE_CHECKING:
    from clawdbot.runtime.deadletters import DeadLetterDesk

R = TypeVar("R")
Number = Annotated[int, typer.Argument(min=1, help="its number in `clawdbot dlq list`")]

app = typer.Typer(no_args_is_help=True, help="Messages that were given up on.")


@app.command("list")
def list_(
    context: typer.Context, limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100
) -> None:
    """List dead letters, oldest first."""
    with explained():
        letters = _ask(context, lambda desk: desk.list(limit))
        Console().print(_table(letters) if letters else "no dead letters")


@app.command()
def show(context: typer.Context, number: Number) -> None:
    """Show one dead letter; its body may hold what a person wrote."""
    with explained():
        letter = _ask(context, lambda desk: desk.show(number))
        typer.echo(_described(letter))


@app.command()
def redrive(context: typer.Context, number: Number) -> None:
    """Send its message again under a new id, and drop the letter."""
    with explained():
        typer.echo(f"sent again on {_ask(context, lambda desk: desk.redrive(number))}")


@app.command()
def drop(
    context: typer.Context,
    number: Number,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Delete it for good."""
    with explained():
        if not yes:
            typer.confirm(f"Delete dead letter {number} for good?", abort=True)
        _ask(context, lambda desk: desk.drop(number))
        typer.echo(f"dropped {number}")


def _ask(context: typer.Context, question: Callable[[DeadLetterDesk], Awaitable[R]]) -> R:
    # The client of the broker is slow to import, and no other verb needs it.
    from clawdbot.runtime.deadletters import DeadLetterDesk
    from clawdbot.runtime.operator_bus import operator_bus

    async def asked(path: Path) -> R:
        config = load_config(path)
        async with operator_bus(config, Secrets.of(config)) as bus:
            return await question(DeadLetterDesk(bus))

    return asyncio.run(asked(config_path(context)))


def _table(letters: list[tuple[int, DeadLetter]]) -> Table:
    table = Table("number", "died", "stream", "reason", "attempts", "message")
    for number, letter in letters:
        table.add_row(
            str(number),
            _time(letter),
            letter.stream,
            letter.error.code,
            str(letter.attempts),
            letter.subject.rpartition(".")[2],
        )
    return table


def _described(letter: DeadLetter) -> str:
    facts = letter.model_dump(mode="json", exclude={"body", "died_at_ms"}, exclude_none=True)
    # A principal is a credential for as long as it lives.
    facts["headers"].pop("Claw-Principal", None)
    facts["died"] = _time(letter)
    facts["body"] = printable(letter.body.decode("utf-8", "replace"))
    return json.dumps(facts, indent=2, ensure_ascii=False)


def _time(letter: DeadLetter) -> str:
    return datetime.fromtimestamp(letter.died_at_ms / 1000, UTC).isoformat(timespec="seconds")
