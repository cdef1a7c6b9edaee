"""A real sandbox for the tests that need one, and plans to run in it."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from clawdbot.executor.adapters.bubblewrap import BubblewrapOptions, BubblewrapSandbox
from clawdbot.executor.domain.plan import Plan, Requester
from clawdbot.executor.domain.profile import PURE, Profile
from clawdbot.executor.domain.result import Result

PYTHON = "/usr/bin/python3"
_jobs = itertools.count()
_HAS_PYTHON = Path(PYTHON).exists()
ALICE = Requester(tenant="acme", user="alice", conversation="c1", channel="webhook")

Snippet = Callable[..., Awaitable[Result]]


def plan_of(*argv: str, profile: Profile = PURE) -> Plan:
    """Return a plan for any command: the sandbox must hold whatever an instruction runs."""
    return Plan(
        instruction="test.command",
        instruction_version=1,
        manifest_sha256="0" * 64,
        executable_sha256="0" * 64,
        argv=argv,
        profile=profile,
        requester=ALICE,
    )


async def run_plan(sandbox: BubblewrapSandbox, plan: Plan) -> Result:
    """Run a plan under a job name of its own."""
    return await run_as(sandbox, f"test-{next(_jobs)}", plan)


async def run_as(
    sandbox: BubblewrapSandbox, job: str, plan: Plan, at_most_s: float = 60.0
) -> Result:
    """Run a plan under this job name."""
    async with sandbox.slot(job) as run:
        return await run(plan, at_most_s)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sandbox() -> AsyncIterator[BubblewrapSandbox]:
    opened = BubblewrapSandbox(BubblewrapOptions())
    found = await opened.probe()
    if not found.usable or not _HAS_PYTHON:
        await opened.aclose()
        _skip_at_home(f"no sandbox to test: {found.reason or PYTHON}")
    yield opened
    await opened.aclose()


@pytest.fixture
def snippet(sandbox: BubblewrapSandbox) -> Snippet:
    """Run Python source inside the sandbox; keywords change the profile."""

    async def run(source: str, **limits: float) -> Result:
        profile = replace(PURE, wall_s=20.0)
        plan = plan_of(PYTHON, "-I", "-c", source, profile=replace(profile, **limits))
        return await run_plan(sandbox, plan)

    return run


def _skip_at_home(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
