"""`clawdbot dlq`: what was given up on, and what to do about it."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from clawdbot.cli.failures import explained
from clawdbot.cli.log_lines import printable
from clawdbot.cli.options import config_path
from clawdbot.runtime.config import load_config
from clawdbot.runtime.secrets import Secrets
from clawdbot.schema.deeds import OperatorDeed
from clawdbot.schema.messages import DeadLetter

if TYPE_CHECKING:
    from clawdbot.runtime.bus import Bus
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
    """Send its message again under a new id, and drop the letter; `clawdbot dlq log` shows it."""
    with explained():
        typer.echo(f"sent again on {_ask(context, lambda desk: desk.redrive(number))}")


@app.command()
def drop(
    context: typer.Context,
    number: Number,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Delete it for good; `clawdbot dlq log` shows it."""
    with explained():
        if not yes:
            typer.confirm(f"Delete dead letter {number} for good?", abort=True)
        _ask(context, lambda desk: desk.drop(number))
        typer.echo(f"dropped {number}")


@app.command("log")
def log_(
    context: typer.Context, limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100
) -> None:
    """List who sent again or deleted which dead letters, oldest first."""
    # The client of the broker is slow to import, and few verbs need it.
    from clawdbot.runtime.operator_log import OperatorLog

    with explained():
        deeds = _on_bus(context, lambda bus: OperatorLog(bus).list(limit))
        Console().print(_log_table(deeds) if deeds else "nobody did anything yet")


def _ask(context: typer.Context, question: Callable[[DeadLetterDesk], Awaitable[R]]) -> R:
    from clawdbot.runtime.deadletters import DeadLetterDesk

    return _on_bus(context, lambda bus: question(DeadLetterDesk(bus, who())))


def _on_bus(context: typer.Context, question: Callable[[Bus], Awaitable[R]]) -> R:
    from clawdbot.runtime.operator_bus import operator_bus

    async def asked(path: Path) -> R:
        config = load_config(path)
        async with operator_bus(config, Secrets.of(config)) as bus:
            return await question(bus)

    return asyncio.run(asked(config_path(context)))


def who() -> str:
    """Return whom the log names: user and host, and who became that user by sudo."""
    try:
        # By number, not by what the environment says.
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    behind = os.environ.get("SUDO_USER")
    name = f"{behind} as {user}" if behind else user
    return printable(f"{name}@{socket.gethostname()}")[:256]


def _log_table(deeds: list[OperatorDeed]) -> Table:
    table = Table("when", "who", "did", "number", "stream", "reason", "message", "sent as")
    for deed in deeds:
        table.add_row(
            _time(deed.at_ms),
            escape(printable(deed.who)),
            deed.deed,
            str(deed.number),
            deed.stream,
            deed.code,
            deed.subject,
            deed.sent_as or "",
        )
    return table


def _table(letters: list[tuple[int, DeadLetter]]) -> Table:
    table = Table("number", "died", "stream", "reason", "attempts", "message")
    for number, letter in letters:
        table.add_row(
            str(number),
            _time(letter.died_at_ms),
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
    facts["died"] = _time(letter.died_at_ms)
    facts["body"] = printable(letter.body.decode("utf-8", "replace"))
    return json.dumps(facts, indent=2, ensure_ascii=False)


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
