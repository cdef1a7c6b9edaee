"""`clawdbot token`: API tokens made, listed and revoked, and the keys that sign them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from clawdbot.cli import token_keys
from clawdbot.cli.failures import MISUSED, Failure, explained
from clawdbot.cli.log_lines import printable
from clawdbot.cli.options import config_path
from clawdbot.cli.tokens import ALL_SCOPES, DEFAULT_SCOPES, OWNER, Signer, parse_ttl
from clawdbot.runtime.config import Config, load_config
from clawdbot.runtime.secrets import Secrets
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.tokens import TokenRecord

if TYPE_CHECKING:
    from clawdbot.runtime.token_desk import TokenDesk

R = TypeVar("R")
PIPED_WIDTH = 200
"""A table that no terminal bounds; narrower it would break ids that somebody wants to cut out."""
_RESTART = "restart every gateway: until then it knows the old keys alone"

app = typer.Typer(no_args_is_help=True, help="API tokens.")


@app.command()
def create(  # noqa: PLR0913 -- one for each option
    context: typer.Context,
    subject: Annotated[str, typer.Option("--subject", "--user", help="whom it speaks for")] = OWNER,
    tenant: Annotated[str, typer.Option(help="whose data it reaches")] = "default",
    scopes: Annotated[
        list[str],
        typer.Option(
            "--scope",
            "--scopes",
            help=f"once for each, or separated by commas, of {', '.join(ALL_SCOPES)}",
        ),
    ] = list(DEFAULT_SCOPES),  # noqa: B006 -- typer reads it, nobody changes it
    ttl: Annotated[str, typer.Option(help="how long it is good for, such as 30m, 12h, 7d")] = "24h",
    unrecorded: Annotated[
        bool, typer.Option("--unrecorded", help="without a record, and so without the broker")
    ] = False,
) -> None:
    """Print a new API token, signed with the local key, and record it (not the token itself)."""
    with explained():
        config = load_config(config_path(context))
        wanted = tuple(scope.strip() for part in scopes for scope in part.split(","))
        issued = Signer.of(config, Secrets.of(config)).issue(
            user=subject,
            tenant=tenant,
            scopes=tuple(scope for scope in wanted if scope),
            ttl=parse_ttl(ttl),
        )
        if not unrecorded:
            _record(config, issued.record)
        if sys.stdout.isatty():
            typer.echo(
                f"id {issued.record.token_id}, good until {_minute(issued.record.expires_at_ms)}",
                err=True,
            )
        typer.echo(issued.text)


@app.command("list")
def list_(context: typer.Context) -> None:
    """List tokens that were made or revoked and have not expired; never the tokens themselves."""
    with explained():
        records = _ask(load_config(config_path(context)), lambda desk: desk.list())
        console = Console()
        if not console.is_terminal:
            console.width = PIPED_WIDTH
        console.print(_table(records) if records else "no tokens")


@app.command()
def revoke(
    context: typer.Context,
    token_id: Annotated[
        str | None, typer.Argument(help="its id in `clawdbot token list`, the claim `jti`")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="instead: all tokens issued for this subject until now")
    ] = None,
    tenant: Annotated[str, typer.Option(help="whose subject that is")] = "default",
) -> None:
    """Have a token, or all of a subject, refused within a second; it cannot be undone."""
    with explained():
        config = load_config(config_path(context))
        if (token_id is None) == (subject is None):
            raise Failure("name either a token's id or --subject", status=MISUSED)
        if subject is not None:
            name = subject
            _ask(config, lambda desk: desk.revoke_subject(tenant, name))
            typer.echo(f"revoked all tokens of {printable(name)} in the tenant {printable(tenant)}")
            return
        _revoke_one(config, token_id or "")


@app.command()
def rotate(
    context: typer.Context,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="instead: stop believing all keys but the newest")
    ] = False,
) -> None:
    """Make a new key that signs tokens; the old ones are believed until `--drop-old`."""
    with explained():
        config = load_config(config_path(context))
        found = Secrets.of(config)
        if drop_old:
            typer.echo(f"dropped {token_keys.drop_old_keys(config, found)} old keys")
        else:
            typer.echo(f"new key {token_keys.add_key(config, found)}")
        typer.echo(_RESTART, err=True)


@app.command()
def jwks(context: typer.Context) -> None:
    """Print the public keys of RS256 or EdDSA, which a gateway elsewhere needs."""
    with explained():
        config = load_config(config_path(context))
        typer.echo(token_keys.key_set(config, Secrets.of(config)))


def _record(config: Config, record: TokenRecord) -> None:
    try:
        _ask(config, lambda desk: desk.record(record))
    except Unavailable as exc:
        raise Failure(
            f"the token cannot be recorded: {exc.message}",
            fix="start the stack with `clawdbot up`, or make one with --unrecorded",
        ) from exc


def _revoke_one(config: Config, token_id: str) -> None:
    if not token_id or token_id.count(".") == 2:
        # It would work, and do nothing: a token is not its id.
        raise Failure("that is no id of a token", fix="see `clawdbot token list`", status=MISUSED)
    revoked = _ask(config, lambda desk: desk.revoke(token_id))
    typer.echo(f"revoked {printable(token_id)}")
    if revoked.issued_at_ms is None:
        typer.echo("no token with this id was recorded; one that has it is refused", err=True)


def _ask(config: Config, question: Callable[[TokenDesk], Awaitable[R]]) -> R:
    # The client of the broker is slow to import, and `--unrecorded` does without.
    from clawdbot.runtime.operator_bus import operator_bus
    from clawdbot.runtime.token_desk import TokenDesk

    async def asked() -> R:
        async with operator_bus(config, Secrets.of(config)) as bus:
            return await question(await TokenDesk.open(bus))

    return asyncio.run(asked())


def _table(records: list[TokenRecord]) -> Table:
    table = Table()
    table.add_column("id", no_wrap=True)
    for name in ("tenant", "subject", "scopes", "created", "expires", "revoked"):
        table.add_column(name)
    for record in records:
        table.add_row(
            "(all until then)" if record.token_id is None else _shown(record.token_id),
            _shown(record.tenant),
            _shown(record.subject),
            " ".join(record.scopes),
            _minute(record.issued_at_ms),
            _minute(record.expires_at_ms),
            _minute(record.revoked_at_ms),
        )
    return table


def _shown(text: str) -> str:
    return escape(printable(text))


def _minute(at_ms: int | None) -> str:
    if at_ms is None:
        return ""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%MZ")
