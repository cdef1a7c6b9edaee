"""Socket Mode against a workspace on loopback that drops, repeats and replaces connections."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.server import Server, ServerConnection, serve

from clawdbot.gateway.adapters.platforms.feed import UNSIGNED
from clawdbot.gateway.adapters.platforms.interface import Connects, Event, Received
from clawdbot.gateway.adapters.platforms.registry import configured, load
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, Verified
from clawdbot.gateway.adapters.platforms.slack import Slack
from clawdbot.runtime.config import ConfigError
from clawdbot.runtime.config_sections import Platforms
from clawdbot.runtime.secrets import Secrets
from clawdbot.schema.errors import ClawdbotError, Overloaded, Rejected, Unavailable
from services.gateway.tests.platforms.slack import SAMPLES

APP_TOKEN = b"xapp-1-A0000000000-0000000000000-abcdef"
HELLO = {"type": "hello", "num_connections": 1}


class Workspace:
    """Slack's side.

    Attributes:
        sockets: the connections, the latest last.
        answered: what we sent, with the number of the connection.
        greeting: what is said first.
        refusals: answers to apps.connections.open that come first.
    """

    def __init__(self) -> None:
        self.sockets: list[ServerConnection] = []
        self.answered: asyncio.Queue[tuple[int, dict[str, Any]]] = asyncio.Queue()
        self.greeting: dict[str, Any] | None = HELLO
        self.refusals: list[httpx.Response] = []
        self.tokens: list[str] = []
        self.server: Server | None = None

    async def serve(self, socket: ServerConnection) -> None:
        number = len(self.sockets)
        self.sockets.append(socket)
        if self.greeting is None:
            return
        await socket.send(json.dumps(self.greeting))
        async for told in socket:
            await self.answered.put((number, json.loads(told)))

    def api(self, request: httpx.Request) -> httpx.Response:
        self.tokens.append(request.headers["authorization"])
        if self.refusals:
            return self.refusals.pop(0)
        assert self.server is not None
        port = next(iter(self.server.sockets)).getsockname()[1]
        url = f"ws://127.0.0.1:{port}/link/?ticket=secret-ticket"
        return httpx.Response(200, json={"ok": True, "url": url})

    async def say(self, kind: str, *, via: int = -1, **fields: Any) -> None:
        await self.sockets[via].send(json.dumps({"type": kind, **fields}))

    async def event(self, number: int, *, via: int = -1) -> None:
        payload = json.loads(SAMPLES.message)
        await self.say("events_api", via=via, envelope_id=f"e{number}", payload=payload)


def app(directory: Path, client: httpx.AsyncClient) -> Slack:
    (directory / "slack_default_bot_token").write_bytes(b"xoxb-a-token-that-is-long-enough")
    (directory / "slack_default_app_token").write_bytes(APP_TOKEN)
    account = {"connection": "socket", "api_base": "http://127.0.0.1/api"}
    platforms = Platforms.model_validate({"slack": {"accounts": {"default": account}}})
    (found,) = configured(platforms, load(["slack"]), Secrets(directory), "")
    return Slack(found, client)


@pytest_asyncio.fixture
async def workspace() -> AsyncIterator[Workspace]:
    found = Workspace()
    async with serve(found.serve, "127.0.0.1", 0) as found.server:
        yield found


@pytest_asyncio.fixture
async def slack(workspace: Workspace, tmp_path: Path) -> AsyncIterator[Slack]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(workspace.api)) as client:
        yield app(tmp_path, client)


async def next_of(events: AsyncIterator[Event]) -> Event:
    async with asyncio.timeout(5):
        return await anext(events)


async def answer(workspace: Workspace) -> tuple[int, dict[str, Any]]:
    async with asyncio.timeout(5):
        return await workspace.answered.get()


def read(slack: Slack, event: Event) -> Received:
    return slack.read(Verified(UNSIGNED, event.payload))


async def test_an_event_is_what_the_webhook_gets_and_acknowledged_by_its_envelope(
    workspace: Workspace, slack: Slack
) -> None:
    assert isinstance(slack, Connects)
    async with slack.connect() as events:
        await workspace.event(1)
        event = await next_of(events)
        assert workspace.answered.empty()
        await event.acknowledge(HTTPAnswer())
        told = await answer(workspace)

    assert told == (0, {"envelope_id": "e1"})
    assert read(slack, event) == slack.read(Verified(UNSIGNED, SAMPLES.message))
    assert workspace.tokens == [f"Bearer {APP_TOKEN.decode()}"]


async def test_a_command_is_read_and_answered_where_slack_takes_an_answer(
    workspace: Workspace, slack: Slack
) -> None:
    command = {
        "command": "/ask",
        "text": "who is there?",
        "user_id": "U1",
        "channel_id": "C1",
        "trigger_id": "13345224609.738474920",
        "response_url": "https://hooks.slack.com/commands/1234/5678",
    }
    shown = HTTPAnswer.of_json({"response_type": "ephemeral", "text": "later"})

    async with slack.connect() as events:
        for takes in (True, False):
            await workspace.say(
                "slash_commands", envelope_id="e1", payload=command, accepts_response_payload=takes
            )
            event = await next_of(events)
            await event.acknowledge(shown)

    (message,) = read(slack, event).messages
    assert (message.sender_id, message.content) == ("U1", "who is there?")
    assert (await answer(workspace))[1]["payload"] == json.loads(shown.body)
    assert (await answer(workspace))[1] == {"envelope_id": "e1"}


async def test_a_press_is_read(workspace: Workspace, slack: Slack) -> None:
    assert SAMPLES.pressed is not None
    form = SAMPLES.pressed("clawdbot:approve:ABCD")
    (wanted,) = [slack.read(Verified(UNSIGNED, form))]
    payload = json.loads(dict(httpx.QueryParams(form.decode()))["payload"])

    async with slack.connect() as events:
        await workspace.say("interactive", envelope_id="e1", payload=payload)
        event = await next_of(events)

    assert read(slack, event) == wanted


@pytest.mark.parametrize("reason", ["warning", "refresh_requested"])
async def test_the_next_connection_is_open_before_the_old_one_closes(
    workspace: Workspace, slack: Slack, reason: str
) -> None:
    async with slack.connect() as events:
        await workspace.say("disconnect", reason=reason)
        await workspace.say("disconnect", reason=reason)
        await workspace.event(1)
        old = await next_of(events)
        assert len(workspace.sockets) == 2
        await old.acknowledge(HTTPAnswer())
        assert (await answer(workspace))[0] == 0
        await workspace.sockets[0].close()
        await workspace.event(2, via=1)
        await (await next_of(events)).acknowledge(HTTPAnswer())
        assert await answer(workspace) == (1, {"envelope_id": "e2"})

    assert len(workspace.sockets) == 2


async def test_what_was_not_acknowledged_when_the_line_broke_is_told_again_and_the_same(
    workspace: Workspace, slack: Slack
) -> None:
    async with slack.connect() as events:
        await workspace.event(1)
        first = await next_of(events)
        workspace.sockets[0].transport.abort()
        with pytest.raises(StopAsyncIteration):
            await next_of(events)
        await first.acknowledge(HTTPAnswer())
    async with slack.connect() as events:
        await workspace.event(2)
        second = await next_of(events)

    assert read(slack, first) == read(slack, second)
    assert workspace.answered.empty()


async def test_frames_that_nobody_knows_or_can_read_are_passed_over(
    workspace: Workspace, slack: Slack
) -> None:
    async with slack.connect() as events:
        await workspace.sockets[0].send("no JSON")
        await workspace.say("something_new")
        await workspace.event(1)
        event = await next_of(events)

    assert read(slack, event).messages


@pytest.mark.parametrize(
    ("prepare", "kind", "fix"),
    [
        (lambda w: setattr(w, "greeting", None), Unavailable, ""),
        (
            lambda w: setattr(
                w, "greeting", {"type": "disconnect", "reason": "too_many_websockets"}
            ),
            Overloaded,
            "",
        ),
        (
            lambda w: setattr(w, "greeting", {"type": "disconnect", "reason": "link_disabled"}),
            Rejected,
            "switch it on",
        ),
        (lambda w: w.refusals.append(refusal(error="invalid_auth")), Rejected, "xapp-"),
        (lambda w: w.refusals.append(httpx.Response(429)), Overloaded, ""),
        (lambda w: w.refusals.append(opened_at("wss://slack.com.evil.example/")), Unavailable, ""),
        (lambda w: w.refusals.append(opened_at("ws://wss-primary.slack.com/")), Unavailable, ""),
        (
            lambda w: w.refusals.append(opened_at("ws://127.0.0.1:1/?secret-ticket")),
            Unavailable,
            "",
        ),
    ],
)
async def test_a_failure_says_what_to_do_and_tells_no_secret(
    workspace: Workspace,
    slack: Slack,
    caplog: pytest.LogCaptureFixture,
    prepare: Callable[[Workspace], None],
    kind: type[ClawdbotError],
    fix: str,
) -> None:
    prepare(workspace)

    with caplog.at_level(logging.DEBUG), pytest.raises(kind) as error:
        async with slack.connect() as events:
            await next_of(events)

    assert fix in (error.value.fix or "")
    ours = [each.getMessage() for each in caplog.records if each.name != "websockets.server"]
    told = f"{error.value}{error.value.fix}{error.value.__cause__}{ours}"
    assert "secret-ticket" not in told
    assert APP_TOKEN.decode() not in told


async def test_socket_mode_switched_off_is_told(workspace: Workspace, slack: Slack) -> None:
    with pytest.raises(Rejected, match="switched off"):
        async with slack.connect() as events:
            await workspace.say("disconnect", reason="link_disabled")
            await next_of(events)


def test_another_kind_of_token_is_refused_at_the_start(tmp_path: Path) -> None:
    app(tmp_path, httpx.AsyncClient())
    (tmp_path / "slack_default_app_token").write_bytes(b"xoxb-a-token-of-another-kind")
    platforms = {"slack": {"accounts": {"default": {"connection": "socket"}}}}
    (account,) = configured(
        Platforms.model_validate(platforms), load(["slack"]), Secrets(tmp_path), ""
    )

    with pytest.raises(ValueError, match="xapp-"):
        Slack(account, httpx.AsyncClient())


def test_socket_mode_needs_an_app_token_and_the_webhook_a_signing_secret(tmp_path: Path) -> None:
    (tmp_path / "slack_default_bot_token").write_bytes(b"xoxb-a-token-that-is-long-enough")

    for connection, missing in (("socket", "app_token"), ("webhook", "signing_secret")):
        platforms = {"slack": {"accounts": {"default": {"connection": connection}}}}
        with pytest.raises(ConfigError, match=f"slack_default_{missing}"):
            configured(Platforms.model_validate(platforms), load(["slack"]), Secrets(tmp_path), "")


def refusal(**fields: object) -> httpx.Response:
    return httpx.Response(200, json={"ok": False, **fields})


def opened_at(url: str) -> httpx.Response:
    return httpx.Response(200, json={"ok": True, "url": url})
