"""`clawdbot config check|show`."""

from __future__ import annotations

import typer

from clawdbot.cli.config_check import findings, shown
from clawdbot.cli.failures import explained
from clawdbot.cli.options import config_path
from clawdbot.runtime.config import load_config

app = typer.Typer(no_args_is_help=True, help="The configuration.")


@app.command()
def check(context: typer.Context) -> None:
    """Say whether the configuration can be used, and what of it is missing on this machine."""
    with explained():
        path = config_path(context)
        config = load_config(path)
        typer.echo(f"ok       {path} is understood")
        for is_well, line in findings(config):
            typer.echo(f"{'ok' if is_well else 'missing':<8} {line}")


@app.command()
def show(context: typer.Context) -> None:
    """Print everything that is configured, defaults and environment included."""
    with explained():
        typer.echo(shown(load_config(config_path(context))), nl=False)
