"""WebSockets through the whole stack: both ports, a replica that dies, and another that goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from websockets.sync.client import ClientConnection, connect

from clawdbot.runtime.testing import free_port
from tests.integration.system import System

Frames = list[dict[str, Any]]


@contextmanager
def connected(
    url: str, token: str, **params: Any
) -> Iterator[tuple[ClientConnection, dict[str, Any]]]:
    with connect(url, proxy=None) as socket:
        say(socket, "connect", token=token, conversations=["diary"], **params)
        *_, hello = until(socket, "res")
        assert hello["ok"], hello
        yield socket, hello["result"]


def say(socket: ClientConnection, method: str, **params: Any) -> None:
    socket.send(json.dumps({"type": "req", "id": method, "method": method, "params": params}))


def until(socket: ClientConnection, kind: str) -> Frames:
    """Return what comes, up to a frame of `kind`."""
    frames: Frames = []
    while not frames or kind not in {frames[-1]["type"], frames[-1].get("event")}:
        frames.append(json.loads(socket.recv(60)))
    return frames


def test_a_conversation_goes_on_over_sockets_of_two_replicas_and_the_api(
    new_system: Callable[..., System],
) -> None:
    system = new_system(platforms={"socket": {"enabled": True, "port": free_port()}})
    with system.running() as running:
        token = running.token()
        main = running.url.replace("http", "ws") + "/ws"
        apart = f"ws://127.0.0.1:{running.config.platforms.socket.port}"
        port = free_port()
        second = running.start(
            "gateway",
            CLAWDBOT_APP__PORT=str(port),
            CLAWDBOT_PLATFORMS__SOCKET__PORT=str(free_port()),
        )
        second.wait_ready()

        with connected(f"ws://127.0.0.1:{port}/ws", token) as (socket, _):
            say(socket, "send", conversation_id="diary", content="Say hello.")
            frames = until(socket, "message")
            seen = frames[-1]["seq"]
            say(socket, "send", conversation_id="diary", content="And again.", message_id="m2")
            sent = until(socket, "res")[-1]
            second.kill()
        with connected(main, token, resume={"seq": seen}) as (socket, hello):
            missed = until(socket, "message")[-1]
        with connected(apart, token, resume={"seq": seen}) as (socket, _):
            again = until(socket, "message")[-1]
            chat = {"content": "And again.", "message_id": "m2", "conversation_id": "diary"}
            answer = running.http.post(
                "/api/chat", json=chat, headers={"Authorization": f"Bearer {token}"}
            )

    assert {"delta", "message"} <= {frame.get("event") for frame in frames}
    assert (hello["gap"], hello["seq"]) == (False, seen)
    assert missed["seq"] > seen
    assert missed == again
    assert missed["data"]["message_id"] == sent["result"]["message_id"]
    assert answer.json()["content"] == missed["data"]["content"]
