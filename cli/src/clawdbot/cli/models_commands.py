"""`clawdbot models list|build|verify`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from clawdbot.cli import models
from clawdbot.cli.failures import FAILED, Failure, explained
from clawdbot.cli.options import config_path
from clawdbot.runtime.config import load_config
from clawdbot.runtime.config_sections import Models

app = typer.Typer(no_args_is_help=True, help="The models on this machine.")


@app.command("list")
def list_(context: typer.Context) -> None:
    """List the model folders."""
    with explained():
        configured = _configured(context)
        table = Table("name", "version", "kind", "context", "folder")
        for found in models.folders(configured.directory):
            table.add_row(
                found.name, found.version, found.kind, found.context_length, str(found.folder)
            )
        Console().print(table if table.row_count else f"no models in {configured.directory}")
        for name in models.missing(configured):
            typer.echo(f"missing: {name}; {models.how_to_get(name)}")


@app.command()
def build(
    context: typer.Context,
    name: Annotated[list[str] | None, typer.Argument(help="all of ours when none is named")] = None,
) -> None:
    """Build the models that we can build, where they are missing or out of date."""
    with explained():
        if not asyncio.run(
            models.build(_configured(context).directory, name or models.BUILDABLE, _say)
        ):
            raise Failure("not every model could be built; the lines above say why")


@app.command()
def verify(context: typer.Context) -> None:
    """Check every model file against its folder's card."""
    with explained():
        if not asyncio.run(models.verify(_configured(context).directory, _say)):
            raise typer.Exit(FAILED)


def _configured(context: typer.Context) -> Models:
    return load_config(config_path(context)).models


def _say(_name: str, line: str) -> None:
    typer.echo(line)
