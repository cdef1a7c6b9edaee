"""The `clawdbot` command: its verbs, and what each does with its options.

What only one verb needs is imported there: `clawdbot sign` stands in pipelines and starts fast.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from clawdbot.cli import dlq, senders, token_commands
from clawdbot.cli.addresses import gateway_url, ready_urls
from clawdbot.cli.config_commands import app as config_app
from clawdbot.cli.failures import FAILED, explained
from clawdbot.cli.models_commands import app as models_app
from clawdbot.cli.options import DEFAULT_CONFIG, config_path
from clawdbot.cli.sign import signature
from clawdbot.cli.tokens import OWNER
from clawdbot.runtime.config import load_config
from clawdbot.runtime.secrets import WEBHOOK, Secrets

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Runs Clawdbot on this machine, and talks to it.",
)
app.add_typer(token_commands.app, name="token")
app.add_typer(config_app, name="config")
app.add_typer(models_app, name="models")
app.add_typer(dlq.app, name="dlq")
app.add_typer(senders.app, name="senders")


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path, typer.Option("--config", "-c", envvar="CLAWDBOT_CONFIG", help="the YAML file")
    ] = DEFAULT_CONFIG,
) -> None:
    """Remember what every verb shares."""
    context.obj = config


@app.command()
def up(context: typer.Context) -> None:
    """Run broker and services until Ctrl-C; creates secrets and models when they are missing."""
    from clawdbot.cli.up import up as run_stack

    with explained():
        run_stack(config_path(context))


@app.command()
def chat(
    context: typer.Context,
    user: Annotated[
        str, typer.Option(help="who you are; not asked where an identity provider says it")
    ] = OWNER,
    conversation: Annotated[
        str, typer.Option(help="which conversation to go on with")
    ] = "terminal",
) -> None:
    """Talk to the running stack."""
    from clawdbot.cli.chat import Chat, gateway_client, tokens_of, typed

    with explained():
        config = load_config(config_path(context))
        new_token = tokens_of(config, Secrets.of(config), user)
        console = Console()
        certificate = config.app.tls_certificate
        # A certificate speaks for a name, which the loopback address is not.
        url = (certificate and config.app.public_url) or gateway_url(config)
        with gateway_client(url, config.gateway.chat_timeout_s, certificate) as client:
            Chat(
                client,
                new_token,
                console,
                conversation=conversation,
            ).converse(typed(console))


@app.command()
def sign(
    context: typer.Context,
    path: Annotated[
        str | None, typer.Option(help="sign this path, for a GET, instead of standard input")
    ] = None,
) -> None:
    """Print the X-Signature of standard input or of a path."""
    with explained():
        secret = Secrets.of(load_config(config_path(context))).read(WEBHOOK)
        data = sys.stdin.buffer.read() if path is None else path.encode()
        typer.echo(signature(secret, data))


@app.command()
def status(context: typer.Context) -> None:
    """Ask each service whether it is ready; exit status 1 when one is not."""
    from clawdbot.cli import readiness
    from clawdbot.cli.status import status_table

    with explained():
        reports = asyncio.run(readiness.ask_all(ready_urls(load_config(config_path(context)))))
        Console().print(status_table(reports))
        if not all(report.is_ready for report in reports.values()):
            raise typer.Exit(FAILED)


def main() -> None:
    """Run the command."""
    app()


if __name__ == "__main__":
    main()
