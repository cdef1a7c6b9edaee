"""Memory that an idle WebSocket takes: the gateway against the bare `websockets` server."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack
from pathlib import Path

from websockets.asyncio.client import connect

from bench.measure import Comparison, Effort
from bench.processes import stack
from clawdbot.cli.tokens import Signer
from clawdbot.runtime.testing import free_port
from clawdbot.schema.errors import Unavailable

CONNECTIONS = 400
_RESIDENT = re.compile(r"VmRSS:\s+(\d+) kB")
_WARM_UP = 20
"""Connections that come first, so that what is loaded once is not counted."""


async def run(effort: Effort) -> list[Comparison]:
    """Compare the resident memory for each further connection, once: what grew does not shrink."""
    connections, port = effort.count(CONNECTIONS), free_port()
    limits: dict[str, object] = {
        "socket_connections": 2 * CONNECTIONS,
        "socket_connections_per_user": 2 * CONNECTIONS,
    }
    async with (
        stack("relaxed", gateway=limits) as local,
        local.process("clawdbot.gateway.main") as ours_pid,
        local.process("bench.bare_sockets", str(port)) as bare_pid,
    ):
        token = Signer.of(local.config, local.secrets).issue(user="bench").text
        url = f"ws://127.0.0.1:{local.config.app.port}/ws"
        ours = await _kib_each(url, ours_pid, connections, _hello(token))
        bare = await _kib_each(f"ws://127.0.0.1:{port}/", bare_pid, connections, None)
    return [Comparison("memory of an idle WebSocket", "KiB", [ours], [bare])]


def _hello(token: str) -> str:
    params = {"token": token, "conversations": ["default"]}
    return json.dumps({"type": "req", "id": "1", "method": "connect", "params": params})


async def _kib_each(url: str, pid: int, count: int, hello: str | None) -> float:
    async with AsyncExitStack() as held:
        for index in range(_WARM_UP + count):
            if index == _WARM_UP:
                before = _resident_kib(pid)
            opened = connect(url, compression=None, ping_interval=None)
            socket = await held.enter_async_context(opened)
            if hello is not None:
                await socket.send(hello)
                async with asyncio.timeout(10):
                    answer = json.loads(await socket.recv())
                if not answer.get("ok"):
                    raise Unavailable(f"the gateway refused the socket: {answer.get('error')}")
        return max(_resident_kib(pid) - before, 1) / count


def _resident_kib(pid: int) -> int:
    found = _RESIDENT.search(Path(f"/proc/{pid}/status").read_text())
    if found is None:
        raise Unavailable("this machine does not say how much memory a process has")
    return int(found[1])
