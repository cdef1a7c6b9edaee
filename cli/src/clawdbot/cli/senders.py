"""`clawdbot senders`: who may write to the assistant on chat platforms, and who is one person."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clawdbot.cli.failures import MISUSED, Failure, explained
from clawdbot.cli.log_lines import printable
from clawdbot.cli.options import config_path
from clawdbot.runtime.config import load_config
from clawdbot.runtime.secrets import Secrets
from clawdbot.schema import senders as rpc
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.ids import TOKEN, Channel, Tenant

if TYPE_CHECKING:
    from clawdbot.schema.rpc import Rep, Req, Rpc

PATIENCE_S = 15.0
_NAME = re.compile(r"([A-Za-z0-9_-]{1,64})(?:/([a-z0-9_-]{1,64}))?:(.{1,256})", re.DOTALL)

Who = Annotated[str, typer.Argument(help="as in `clawdbot senders list`: <channel>:<sender id>")]
TenantOption = Annotated[
    str | None, typer.Option("--tenant", help="whose user it is, of users of API tokens")
]

app = typer.Typer(
    no_args_is_help=True, help="Who may write on chat platforms, and which of them are one person."
)


@app.command("list")
def list_(context: typer.Context) -> None:
    """List who was let in or linked, and who waits with a code."""
    with explained():
        found = _ask(context, rpc.SENDERS, rpc.SendersRequest())
        console = Console()
        console.print(_known(found.known) if found.known else "nobody was let in or linked")
        if found.is_cut:
            console.print(f"and more: only {rpc.MAX_LISTED} are listed")
        console.print(_waiting(found.waiting) if found.waiting else "nobody waits")


@app.command()
def approve(
    context: typer.Context,
    code: Annotated[str, typer.Argument(help="what the sender was told; it works once")],
) -> None:
    """Let in whoever was told this code."""
    with explained():
        sender = _ask(context, rpc.APPROVE, rpc.ApproveSenderRequest(code=code.strip()[:64]))
        typer.echo(f"let in: {shown(sender)}")


@app.command()
def remove(context: typer.Context, sender: Who, tenant: TenantOption = None) -> None:
    """Let a sender in no more, from their next message on; a link ends too."""
    with explained():
        named = sender_name(sender, tenant)
        gone = _ask(context, rpc.REMOVE, rpc.RemoveSenderRequest(sender=named))
        typer.echo(f"removed: {shown(gone)}")


@app.command()
def link(context: typer.Context, first: Who, second: Who, tenant: TenantOption = None) -> None:
    """Make two senders one person, who has the memory of the first."""
    with explained():
        request = rpc.LinkSendersRequest(
            first=sender_name(first, tenant), second=sender_name(second, tenant)
        )
        linked = _ask(context, rpc.LINK, request)
        typer.echo(f"linked: {shown(linked)} has the memory of {first} now")


@app.command()
def unlink(context: typer.Context, sender: Who, tenant: TenantOption = None) -> None:
    """Give a sender a memory of their own again; of a person's first sender, everybody."""
    with explained():
        named = sender_name(sender, tenant)
        alone = _ask(context, rpc.UNLINK, rpc.UnlinkSenderRequest(sender=named))
        typer.echo(f"unlinked: {shown(alone)}")


def sender_name(text: str, tenant: str | None = None) -> rpc.SenderName:
    """Return whom `text` names: `telegram:42`, `api:ada`, or `webhook/wechat:42`.

    Raises:
        Failure: it names nobody.
    """
    match = _NAME.fullmatch(text)
    if match is None:
        raise Failure(
            f"{text!r} is not <channel>:<sender id>, such as telegram:123456 or api:owner",
            status=MISUSED,
        )
    if tenant is not None and not TOKEN.fullmatch(tenant):
        raise Failure(f"the tenant {tenant!r} is not 1 to 64 of A-Z a-z 0-9 _ -", status=MISUSED)
    channel, platform, sender_id = match.groups()
    return rpc.SenderName(
        channel=Channel(channel),
        platform=platform,
        sender_id=sender_id,
        tenant=None if tenant is None else Tenant(tenant),
    )


def shown(sender: rpc.Sender) -> str:
    """Return how `sender` is named on the command line; safe for a terminal."""
    is_own = sender.channel.partition("-")[0] == sender.platform
    where = sender.channel if is_own else f"{sender.channel}/{sender.platform}"
    return printable(f"{where}:{sender.sender_id}")


def _ask(context: typer.Context, question: Rpc[Req, Rep], request: Req) -> Rep:
    # The client of the broker is slow to import, and no other verb needs it.
    from clawdbot.runtime.operator_bus import operator_bus

    async def asked() -> Rep:
        config = load_config(config_path(context))
        async with operator_bus(config, Secrets.of(config)) as bus:
            return await bus.call(question, request, deadline=Deadline.after(PATIENCE_S))

    return asyncio.run(asked())


def _known(known: Sequence[rpc.Sender]) -> Table:
    table = Table("sender", "tenant", "let in", "person")
    for sender in known:
        let_in = "" if sender.paired_at_ms is None else _time(sender.paired_at_ms)
        table.add_row(Text(shown(sender)), sender.tenant, let_in, _person(sender, known))
    return table


def _person(sender: rpc.Sender, known: Sequence[rpc.Sender]) -> Text:
    link = sender.link
    if link is None or link.user == sender.user:
        return Text("" if link is None else "their first sender")
    first = next((other for other in known if other.user == link.user), None)
    return Text("linked" if first is None else f"as {shown(first)}")


def _waiting(waiting: Sequence[rpc.Applicant]) -> Table:
    table = Table("code", "sender", "tenant", "asked", "good until")
    for one in waiting:
        table.add_row(
            one.code,
            Text(shown(one.sender)),
            one.sender.tenant,
            _time(one.asked_at_ms),
            _time(one.expires_at_ms),
        )
    return table


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
