"""`clawdbot up`: from nothing to a stack that answers, in one command."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from clawdbot.cli import models, readiness
from clawdbot.cli.addresses import (
    broker_port,
    gateway_url,
    ready_urls,
    require_free_ports,
    with_ports,
)
from clawdbot.cli.checks import Lack, lacks
from clawdbot.cli.greeting import greeting, own_command
from clawdbot.cli.lock import only_one
from clawdbot.cli.log_lines import LogPrinter
from clawdbot.cli.secrets_setup import ensure_secrets
from clawdbot.cli.stack import Stack
from clawdbot.cli.token_keys import ensure_keys
from clawdbot.cli.tokens import Signer
from clawdbot.runtime.config import Config, load_config
from clawdbot.runtime.operator_bus import operator_bus
from clawdbot.runtime.secrets import Secrets
from clawdbot.runtime.token_desk import TokenDesk
from clawdbot.schema.errors import Retryable

READY_WITHIN_S = 120.0
"""Loading a model from a slow disk takes most of it."""
_SETTLED_AFTER_S = 10.0
"""Services ask each other every few seconds; what they warned of while starting says nothing."""


def up(config_path: Path) -> None:
    """Run the stack until Ctrl-C, SIGTERM or SIGHUP.

    Raises:
        Failure: it cannot be started, or a service refuses its configuration.
        ClawdbotError: the broker does not start.
        ConfigError: the configuration is wrong.
    """
    config = with_ports(load_config(config_path))
    console = Console(stderr=True, markup=False, highlight=False)
    printer = LogPrinter(console)
    # Of our own connection only failures matter here, and those come as exceptions.
    logging.getLogger("clawdbot").setLevel(logging.ERROR)
    try:
        with only_one(config.app.data_dir):
            asyncio.run(_Up(config, config_path, console, printer).run())
    finally:
        printer.close()


class _Up:
    def __init__(
        self, config: Config, config_path: Path, console: Console, printer: LogPrinter
    ) -> None:
        self._config = config
        self._config_path = config_path
        self._console = console
        self._printer = printer
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        body = asyncio.create_task(self._run(), name="up")
        is_asked = asyncio.Event()
        _on_signals(lambda: self._on_signal(body, is_asked))
        try:
            await body
        except asyncio.CancelledError:
            if not is_asked.is_set():
                raise
        self._console.print("stopped")

    async def _run(self) -> None:
        config = self._config
        broker_port(config)
        require_free_ports(config)
        self._prepare_secrets()
        await self._build_models()
        for lack in lacks(config):
            self._warn(lack)
        stack = Stack(config, self._config_path, say=self._printer.say, hurry=self._hurry)
        async with stack.running():
            await self._until_ready()
            self._greet(await self._token())
            await asyncio.sleep(_SETTLED_AFTER_S)
            self._warn_of(await readiness.ask_all(ready_urls(config)))

    def _prepare_secrets(self) -> None:
        found = Secrets.of(self._config)
        directory = found.directory
        if made := ensure_secrets(directory) + ensure_keys(self._config, found):
            self._console.print(f"created {len(made)} secrets in {directory}")

    async def _build_models(self) -> None:
        wanted = [name for name in models.missing(self._config.models) if name in models.BUILDABLE]
        if wanted:
            self._console.print(f"building {', '.join(wanted)}: once, takes about a minute")
            await models.build(self._config.models.directory, wanted, self._printer.say)

    async def _until_ready(self) -> None:
        urls = ready_urls(self._config)
        # Without a sandbox the executor refuses everything, and says why; the rest works.
        may_lack = {"executor"}
        if models.missing(self._config.models):
            may_lack |= {"inference", "assistant"}
        waiting = set(urls)
        with self._console.status(_waiting_for(waiting)) as status:

            def tell(name: str, report: readiness.Report) -> None:
                waiting.discard(name)
                status.update(_waiting_for(waiting))
                self._console.print(f"{name:<9} {'ready' if report.is_ready else 'started'}")

            reports = await readiness.until_ready(
                urls, within_s=READY_WITHIN_S, may_lack=may_lack, tell=tell
            )
        self._complain(reports)

    def _complain(self, reports: dict[str, readiness.Report]) -> None:
        for name, report in reports.items():
            for reason in report.failing.values():
                self._print_warning(f"{name} is not ready: {reason}")

    def _warn_of(self, reports: dict[str, readiness.Report]) -> None:
        for name, report in reports.items():
            for reason in report.warnings.values():
                self._print_warning(f"{name}: {reason}")

    def _print_warning(self, text: str) -> None:
        self._console.print(f"warning: {text}", style="yellow", soft_wrap=True)

    def _warn(self, lack: Lack) -> None:
        self._print_warning(lack.what)
        self._console.print(f"fix: {lack.fix}", soft_wrap=True)

    async def _token(self) -> str | None:
        """Return a token to begin with, on record like any other; None where others make them."""
        config, found = self._config, Secrets.of(self._config)
        if config.gateway.jwt.jwks_url is not None:
            return None
        issued = Signer.of(config, found).issue(tenant=config.platforms.webhook.tenant)
        try:
            async with operator_bus(config, found) as bus:
                await (await TokenDesk.open(bus)).record(issued.record)
        except Retryable as exc:
            self._print_warning(f"the token below is not on record: {exc.message}")
        return issued.text

    def _greet(self, token: str | None) -> None:
        config = self._config
        webhook = config.platforms.webhook
        url = config.app.public_url or gateway_url(config)
        command = own_command(sys.argv[0], self._config_path, Path.cwd())
        with suppress(BrokenPipeError):
            sys.stdout.write(greeting(url.rstrip("/"), webhook.path, token, command))
            sys.stdout.flush()

    def _on_signal(self, body: asyncio.Task[None], is_asked: asyncio.Event) -> None:
        if is_asked.is_set():
            self._hurry.set()
            return
        is_asked.set()
        self._console.print("stopping (Ctrl-C again: at once)")
        body.cancel()


def _on_signals(handler: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, handler)


def _waiting_for(names: set[str]) -> str:
    return f"waiting for {', '.join(sorted(names))}" if names else "ready"
