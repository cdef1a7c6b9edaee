"""`clawdbot dlq` as an operator types it, against a reply that Telegram refused."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable

from msgpack import packb

from clawdbot.runtime.bus import Bus
from clawdbot.runtime.connection import connected
from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import OutboundMessage
from tests.integration.chat_doubles import TelegramAPI
from tests.integration.system import System, until


class Blocked(TelegramAPI):
    """A chat whose bot is blocked, until it is not."""

    is_blocked = True

    def _done(self, method, chat, fields):
        if self.is_blocked:
            return 403, {"ok": False, "error_code": 403, "description": "Forbidden: bot blocked"}
        return super()._done(method, chat, fields)


def clawdbot(system: System, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "clawdbot.cli.main", *arguments],
        cwd=system.directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"CLAWDBOT_CONFIG": "config.yaml", "COLUMNS": "300", "SUDO_USER": "ann"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_refused_reply_is_redriven_or_dropped_and_both_are_in_the_log(
    new_system: Callable[..., System],
) -> None:
    with Blocked() as api:
        system = new_system(
            platforms={"telegram": {"accounts": {"default": {"api_base": api.url}}}}
        )
        secrets = system.secrets.directory
        (secrets / "telegram_default_webhook_secret").write_text("a-secret-token-of-ours")
        (secrets / "telegram_default_bot_token").write_text("123456789:" + "A" * 35)
        with system.running("gateway"):
            store(system, "one")
            store(system, "two")
            until(lambda: len(system.dead_letters()) == 2, 20, "two dead letters")
            api.is_blocked = False
            first, second = re.findall(r"^│\s+(\d+)", clawdbot(system, "dlq", "list"), re.MULTILINE)

            assert "sent again on claw.out.telegram" in clawdbot(system, "dlq", "redrive", first)
            assert "dropped" in clawdbot(system, "dlq", "drop", second, "--yes")
            until(lambda: api.texts("42"), 20, "the redriven reply")
            listed = clawdbot(system, "dlq", "log")

        assert len(api.texts("42")) == 1
    did = [line for line in listed.splitlines() if "claw.out" in line]
    assert len(did) == 2
    assert all("ann as" in line for line in did)
    assert re.search(rf"redrive\s*│\s*{first}", did[0])
    assert re.search(rf"drop\s*│\s*{second}", did[1])


def store(system: System, text: str) -> None:
    address = b"\x00" + packb({"chat_id": 42, "message_id": 5, "topic_id": None})
    ids = {
        "channel": Channel("telegram"),
        "tenant": Tenant("default"),
        "conversation_id": ConversationId(f"c-{text}"),
        "message_id": MessageId(f"m-{text}"),
    }
    reply = OutboundMessage(
        **ids, content=text, reply_to=address, created_at_ms=int(time.time() * 1000)
    )

    async def stored() -> None:
        async with connected("assistant", system.config, system.secrets) as client:
            subject = subjects.outbound(*ids.values(), 0)
            await Bus(client, "assistant").store_once(subject, reply, deadline=Deadline.after(5))

    system.portal.call(stored)
