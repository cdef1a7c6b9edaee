"""Starts the executor: `python -m clawdbot.executor.main`."""

from __future__ import annotations

from clawdbot.executor.adapters import instruction_set
from clawdbot.executor.adapters.bubblewrap import BubblewrapOptions, BubblewrapSandbox
from clawdbot.executor.adapters.bucket_approvals import BucketApprovals
from clawdbot.executor.adapters.bus_audit_log import BusAuditLog
from clawdbot.executor.handlers.approvals import Approvals, Terms
from clawdbot.executor.handlers.executor import Executor, Limits
from clawdbot.executor.settings import Settings
from clawdbot.runtime.config import Config
from clawdbot.runtime.service import Runtime, main
from clawdbot.schema import executor as rpc


async def run(config: Config) -> None:
    """Serve as the configuration says."""
    await serve(config, Settings.of(config))


async def serve(config: Config, settings: Settings) -> None:
    """Serve until stopped; without a working sandbox, refuse everything and be not ready."""
    async with Runtime.open("executor", config) as runtime:
        options = BubblewrapOptions(settings.bwrap, settings.concurrency, settings.first_uid)
        sandbox = await runtime.enter(BubblewrapSandbox.open(options))
        runtime.health.ready_when("sandbox", lambda: sandbox.problem)
        runtime.health.warn_when("sandbox", lambda: sandbox.weakness)

        audit = BusAuditLog(runtime.bus)
        approvals = Approvals(
            await BucketApprovals.open(runtime.bus), audit, Terms(answer=settings.approval_ttl)
        )
        executor = Executor(instruction_set.load(), sandbox, audit, approvals, Limits())

        # As many again may wait for a slot; the rest hear at once that we are busy.
        await runtime.respond(rpc.RUN, executor.run, concurrency=2 * settings.concurrency)
        await runtime.respond(rpc.PLAN, executor.plan)
        await runtime.respond(rpc.STATUS, executor.status)
        await runtime.respond(rpc.CANCEL, executor.cancel)
        await runtime.respond(rpc.DECIDE, approvals.decide)
        await runtime.respond(rpc.APPROVALS, approvals.approvals)
        runtime.spawn(sandbox.died(), name="sandbox")
        await runtime.until_stopped()


def cli() -> None:
    """Run as a program."""
    main("executor", run)


if __name__ == "__main__":
    cli()
