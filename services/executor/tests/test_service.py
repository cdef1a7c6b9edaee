"""The whole service as a process, on a real broker and in a real sandbox."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import pytest
import yaml

from clawdbot.executor.adapters.bus_audit_log import BusAuditLog
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.testing import LocalBus, free_port, local_bus
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Conflict, NotFound, Unauthenticated, Unavailable
from clawdbot.schema.executor import (
    APPROVALS,
    PLAN,
    RUN,
    ApprovalsRequest,
    AuditEvent,
    AuditRecord,
    Outcome,
    PlanRequest,
    RunRequest,
)
from clawdbot.schema.ids import Channel, ConversationId, Tenant
from clawdbot.schema.principal import Principal, Scope

pytestmark = pytest.mark.integration

ALICE = Principal(
    tenant=Tenant("acme"),
    user="alice",
    scopes=frozenset({Scope.CHAT, Scope.APPROVE}),
    conversation_id=ConversationId("c1"),
    channel=Channel("webhook"),
)


@dataclass
class Running:
    """The service's process and where it says how it is."""

    process: asyncio.subprocess.Process
    health: str

    async def readiness(self) -> tuple[int, str]:
        """Return the status and body of /readyz once anything but "still starting" is said."""
        async with asyncio.timeout(20):
            while True:
                status, body = await asyncio.to_thread(_get, f"{self.health}/readyz")
                if status and "still starting" not in body:
                    return status, body
                await asyncio.sleep(0.05)

    async def stopped(self) -> int:
        """Ask it to stop and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 20)


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()
    except (URLError, OSError):
        return 0, ""


@asynccontextmanager
async def _service(local: LocalBus, directory: Path, *command: str) -> AsyncIterator[Running]:
    port = free_port()
    config = {
        "app": {"data_dir": str(local.config.app.data_dir)},
        "bus": {"url": local.config.bus.url},
        "ops": {"health_ports": {"executor": port}},
    }
    file = directory / f"config-{port}.yaml"
    file.write_text(yaml.safe_dump(config))
    command = command or (sys.executable, "-m", "clawdbot.executor.main")
    environment = {**os.environ, "CLAWDBOT_CONFIG": str(file)}
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    try:
        yield Running(process, f"http://127.0.0.1:{port}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _run(bus: Bus, local: LocalBus, operation: str) -> RunRequest:
    request = PlanRequest(
        operation_id=operation, instruction="system.info", arguments={"topic": "os"}
    )
    token = local.signer.sign(ALICE)
    plan = await bus.call(PLAN, request, deadline=Deadline.after(10), principal=token)
    return RunRequest(
        operation_id=operation,
        plan_hash=plan.plan_hash,
        instruction="system.info",
        arguments={"topic": "os"},
    )


async def test_planned_instruction_is_run_once_and_recorded(tmp_path: Path) -> None:
    async with (
        local_bus(tmp_path / "local") as local,
        _service(local, tmp_path) as service,
        local.bus("assistant") as assistant,
        local.bus("gateway") as gateway,
        local.bus("executor") as auditor,
    ):
        status, body = await service.readiness()
        if status != 200 and os.environ.get("CI") != "true":
            pytest.skip(body)
        assert status == 200, body
        token = local.signer.sign(ALICE)

        request = await _run(assistant, local, "op-1")
        first = await assistant.call(RUN, request, deadline=Deadline.after(10), principal=token)
        again = await assistant.call(RUN, request, deadline=Deadline.after(10), principal=token)

        assert first.outcome is Outcome.FINISHED
        assert "/usr/lib/os-release:PRETTY_NAME=" in first.stdout
        assert again == first
        audit = BusAuditLog(auditor)
        for event in (AuditEvent.STARTED, AuditEvent.FINISHED):
            kept = await audit.find(ALICE.tenant, _record(event), Deadline.after(5))
            assert kept is not None
            assert kept.plan_hash == request.plan_hash

        forged = request.model_copy(update={"plan_hash": "0" * 64})
        with pytest.raises(Conflict):
            await assistant.call(RUN, forged, deadline=Deadline.after(10), principal=token)
        with pytest.raises(Unauthenticated):
            await assistant.call(RUN, request, deadline=Deadline.after(10), principal="forged")
        with pytest.raises(NotFound):
            unknown = PlanRequest(operation_id="op-2", instruction="no.such")
            await assistant.call(PLAN, unknown, deadline=Deadline.after(10), principal=token)
        waiting = await gateway.call(
            APPROVALS, ApprovalsRequest(), deadline=Deadline.after(10), principal=token
        )
        assert waiting.approvals == ()

        assert await service.stopped() == 0


async def test_second_process_does_not_repeat_what_the_first_ran(tmp_path: Path) -> None:
    async with (
        local_bus(tmp_path / "local") as local,
        local.bus("assistant") as assistant,
    ):
        token = local.signer.sign(ALICE)
        async with _service(local, tmp_path) as service:
            status, body = await service.readiness()
            if status != 200 and os.environ.get("CI") != "true":
                pytest.skip(body)
            request = await _run(assistant, local, "op-1")
            await assistant.call(RUN, request, deadline=Deadline.after(10), principal=token)
        async with _service(local, tmp_path) as service:
            await service.readiness()

            reply = await assistant.call(RUN, request, deadline=Deadline.after(10), principal=token)

        assert (reply.outcome, reply.stdout, reply.truncated) == (Outcome.FINISHED, "", True)


_WITHOUT_BUBBLEWRAP = """
from dataclasses import replace
from pathlib import Path
from clawdbot.executor.main import serve
from clawdbot.executor.settings import Settings
from clawdbot.runtime.service import main

async def run(config):
    await serve(config, replace(Settings.of(config), bwrap=Path("/no/bwrap")))

main("executor", run)
"""


async def test_service_without_a_sandbox_is_not_ready_and_refuses(tmp_path: Path) -> None:
    async with (
        local_bus(tmp_path / "local") as local,
        _service(local, tmp_path, sys.executable, "-c", _WITHOUT_BUBBLEWRAP) as service,
        local.bus("assistant") as assistant,
    ):
        status, body = await service.readiness()

        assert status == 503
        assert "no bubblewrap at '/no/bwrap'" in json.loads(body)["failing"]["sandbox"]
        with pytest.raises(Unavailable, match="no bubblewrap"):
            await _run(assistant, local, "op-1")
        assert await service.stopped() == 0


def _record(event: AuditEvent) -> AuditRecord:
    return AuditRecord(
        event=event,
        operation_id="op-1",
        at_ms=0,
        user=ALICE.user,
        conversation_id=ALICE.conversation_id,
        instruction="system.info",
    )
