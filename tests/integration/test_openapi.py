"""The document that the gateway serves, held against what it answers, by schemathesis.

An echo takes the assistant's place: a model would need minutes for as many questions.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from clawdbot.gateway.domain.messages import API, framed
from clawdbot.gateway.domain.senders import own_user
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.connection import connected
from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.ids import IdKey, Tenant
from clawdbot.schema.memory import APPEND, AppendRequest, ConversationLine, Speaker
from clawdbot.schema.messages import InboundMessage, OutboundMessage
from clawdbot.schema.principal import Principal, PrincipalSigner, Scope
from clawdbot.schema.streams import INBOUND
from tests.integration.system import System

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
TESTER = "tester"
SCOPES = ("chat", "memory:read", "memory:write", "admin")
UNLIMITED = {
    f"{kind}_per_s": None
    for kind in ("conversation", "sender", "channel", "tenant", "address", "failure")
}
LONGEST_S = 100


@pytest.fixture
def echoing(new_system: Callable[..., System], portal: BlockingPortal) -> Iterator[System]:
    system = new_system(gateway={"rates": UNLIMITED, "chat_timeout_s": 10})
    with system.running("gateway", "memory", "inference"):
        portal.call(_remember, system, "geography")
        answering = portal.start_task_soon(_answer_all, system)
        yield system
        answering.cancel()


async def _remember(system: System, name: str) -> None:
    """Let there be a conversation of the tester's to read and erase."""
    ids, tenant = IdKey(system.secrets.read("id_key")), Tenant("default")
    principal = Principal(
        tenant=tenant,
        user=own_user(ids, API, API, TESTER),
        scopes=frozenset({Scope.MEMORY_WRITE}),
        conversation_id=ids.conversation(tenant, API, framed(TESTER, name)),
        channel=API,
    )
    token = PrincipalSigner(system.secrets.read("principal_private_key")).sign(principal)
    lines = tuple(
        ConversationLine(id=f"l{number}", speaker=speaker, content="text", said_at_ms=number)
        for number, speaker in enumerate(Speaker)
    )
    async with connected("assistant", system.config, system.secrets) as client:
        request = AppendRequest(lines=lines, conversation_name=name)
        bus, deadline = Bus(client, "assistant"), Deadline.after(10)
        await bus.call(APPEND, request, deadline=deadline, principal=token)


async def _answer_all(system: System) -> None:
    position = 0
    async with connected("assistant", system.config, system.secrets) as client:
        assistant = Bus(client, "assistant")
        while True:
            deadline = Deadline.after(10)
            kept = await assistant.read_next(
                INBOUND, subjects.ALL_INBOUND, position + 1, InboundMessage, deadline=deadline
            )
            if kept is None:
                await asyncio.sleep(0.005)
                continue
            position, reply = kept.sequence, _echo(kept.message)
            where = subjects.outbound(
                reply.channel, reply.tenant, reply.conversation_id, reply.message_id, 0
            )
            await assistant.store_once(where, reply, deadline=deadline)


def _echo(message: InboundMessage) -> OutboundMessage:
    return OutboundMessage(
        channel=message.channel,
        tenant=message.tenant,
        conversation_id=message.conversation_id,
        message_id=message.message_id,
        content=message.content,
        created_at_ms=message.accepted_at_ms,
    )


def test_every_answer_is_as_documented(echoing: System, tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{echoing.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {echoing.token(TESTER, *SCOPES)}"),
        *("--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"),
        *("--max-examples", "10", "--max-time", "50", "--seed", "1"),
        *("--request-timeout", "15", "--no-color"),
    ]
    environment = {
        "PATH": os.environ["PATH"],
        "SCHEMATHESIS_HOOKS": "tests.integration.openapi_hooks",
        "WEBHOOK_SECRET_HEX": echoing.secrets.read("webhook_secret").hex(),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }

    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_S,
    )

    assert done.returncode == 0, done.stdout + done.stderr
