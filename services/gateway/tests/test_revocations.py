"""Revocations on a real broker: written by an operator, followed by every replica for itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from clawdbot.gateway.adapters.jwt_auth import Tokens
from clawdbot.gateway.adapters.jwt_claims import Rules
from clawdbot.gateway.adapters.jwt_keys import secret_keys
from clawdbot.gateway.adapters.refusals import TokenRefused
from clawdbot.gateway.adapters.revocations import Revocations
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.records import Records
from clawdbot.runtime.testing import LocalBus, local_bus
from clawdbot.runtime.token_desk import TokenDesk
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.streams import TOKENS
from clawdbot.schema.tokens import MAX_LIFETIME, TokenRecord, token_key

SECRET = b"a secret of at least thirty-two bytes"


@pytest_asyncio.fixture
async def stack(tmp_path: Path) -> AsyncIterator[LocalBus]:
    async with local_bus(tmp_path) as running:
        yield running


async def replica(bus: Bus) -> tuple[Tokens, Revocations]:
    revocations = Revocations(await Records.open(bus, TOKENS, TokenRecord))
    return Tokens(secret_keys(SECRET), Rules(), revocations), revocations


def record(token_id: str, lives_s: float = 60) -> TokenRecord:
    return TokenRecord(
        token_id=token_id,
        tenant="default",
        subject="ada",
        scopes=("chat",),
        issued_at_ms=int(time.time() * 1000),
        expires_at_ms=int((time.time() + lives_s) * 1000),
    )


async def test_a_revoked_token_is_refused_by_every_replica(stack: LocalBus, token) -> None:
    async with (
        stack.bus("gateway") as one,
        stack.bus("gateway") as two,
        stack.bus("operator") as op,
    ):
        desk = await TokenDesk.open(op)
        await desk.record(record("t1"))
        replicas = [await replica(one), await replica(two)]
        for tokens, revocations in replicas:
            await revocations.look()
            assert (await tokens.identify_token(token(jti="t1"))).token_id == "t1"

        revoked = await desk.revoke("t1")
        for tokens, revocations in replicas:
            await revocations.look()
            with pytest.raises(TokenRefused):
                await tokens.identify_token(token(jti="t1"))
            await tokens.identify_token(token(jti="t2"))
            await tokens.identify_token(token())
        again = await desk.revoke("t1")

    assert revoked == again
    assert (revoked.subject, revoked.scopes) == ("ada", ("chat",))


async def test_revoking_a_subject_ends_what_was_issued_until_then(stack: LocalBus, token) -> None:
    async with stack.bus("gateway") as bus, stack.bus("operator") as operator:
        desk = await TokenDesk.open(operator)
        tokens, revocations = await replica(bus)
        before = token(iat=time.time())
        await desk.revoke_subject("default", "ada")
        after = token(iat=time.time() + 0.002)
        await revocations.look()

        with pytest.raises(TokenRefused):
            await tokens.identify_token(before)
        for untouched in (after, token(sub="bob"), token(tenant="acme")):
            await tokens.identify_token(untouched)


async def test_a_token_that_nobody_recorded_can_be_revoked_by_its_id(
    stack: LocalBus, token
) -> None:
    foreign = "https://id.example/session:7 ü"
    async with stack.bus("gateway") as bus, stack.bus("operator") as operator:
        tokens, revocations = await replica(bus)
        revoked = await (await TokenDesk.open(operator)).revoke(foreign)
        await revocations.look()

        with pytest.raises(TokenRefused):
            await tokens.identify_token(token(jti=foreign))
    assert revoked.expires_at_ms >= (time.time() + MAX_LIFETIME.total_seconds() - 60) * 1000


async def test_until_the_list_was_read_no_token_is_believed(stack: LocalBus, token) -> None:
    async with stack.bus("gateway") as bus:
        tokens, revocations = await replica(bus)

        with pytest.raises(Unavailable):
            await tokens.identify_token(token())
        assert revocations.stale() is not None

        await revocations.look()
        await tokens.identify_token(token())
        assert revocations.stale() is None


async def test_without_the_broker_what_is_known_is_still_refused(stack: LocalBus, token) -> None:
    async with stack.bus("gateway") as bus, stack.bus("operator") as operator:
        tokens, revocations = await replica(bus)
        await (await TokenDesk.open(operator)).revoke("t1")
        await revocations.look()

        await stack.broker.kill()
        with pytest.raises(Unavailable):
            await revocations.look()

        with pytest.raises(TokenRefused):
            await tokens.identify_token(token(jti="t1"))
        await tokens.identify_token(token(jti="t2"))
        await stack.broker.start()


async def test_the_broker_forgets_a_record_by_itself(stack: LocalBus) -> None:
    async with stack.bus("operator") as operator:
        records = await Records.open(operator, TOKENS, TokenRecord)
        desk = TokenDesk(records)
        await desk.record(record("long", lives_s=60))
        ttl, deadline = timedelta(seconds=1), Deadline.after(5)
        await records.put(token_key("short"), record("short"), ttl=ttl, deadline=deadline)
        assert {kept.token_id for kept in await desk.list()} == {"long", "short"}

        async with asyncio.timeout(20):
            while len(kept := await desk.list()) > 1:
                await asyncio.sleep(0.05)

    assert kept[0].token_id == "long"
