"""Limits at the real door: who floods or fails is sent away, everybody else is served."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from clawdbot.runtime.testing import free_port
from tests.integration.system import System, until

FAILURES = 5
BURST = 8


@pytest.fixture
def limited(new_system: Callable[..., System]) -> Iterator[System]:
    rates = {
        "conversation_per_s": 0.5,
        "conversation_burst": BURST,
        "failure_per_s": 0.01,
        "failure_burst": FAILURES,
    }
    with new_system(gateway={"rates": rates}).running("gateway") as system:
        yield system


def at(system: System, address: str) -> httpx.Client:
    """Ask from another address of the loopback network."""
    transport = httpx.HTTPTransport(local_address=address)
    return httpx.Client(base_url=system.url, transport=transport, timeout=30)


def forge(client: httpx.Client) -> httpx.Response:
    return client.post("/api/messages", content=b"{}", headers={"X-Signature": "0" * 64})


def test_a_flooding_conversation_is_429_and_nobody_else_is(limited: System) -> None:
    def flood(number: int) -> httpx.Response:
        return limited.post("hi", sender="flood", conversation_id="one", message_id=f"f{number}")

    def talk(number: int) -> httpx.Response:
        return limited.post("hi", sender=f"quiet-{number % 10}", message_id=f"q{number}")

    with ThreadPoolExecutor(8) as pool:
        flooding = [pool.submit(flood, number) for number in range(100)]
        talking = [pool.submit(talk, number) for number in range(40)]
    floods = [future.result() for future in flooding]
    talks = [future.result() for future in talking]

    assert {answer.status_code for answer in talks} == {202}
    accepted = [answer for answer in floods if answer.status_code == 202]
    refused = [answer for answer in floods if answer.status_code == 429]
    assert len(accepted) + len(refused) == 100
    assert len(refused) >= 80
    assert refused[0].json()["code"] == "rate_limited"
    assert int(refused[0].headers["retry-after"]) >= 1
    assert limited.count("INBOUND") == len(accepted) + len(talks)
    # What was accepted can still be asked for again.
    first = next(number for number, answer in enumerate(floods) if answer.status_code == 202)
    assert flood(first).status_code == 200


@pytest.mark.skipif(sys.platform != "linux", reason="needs a second address of the loopback")
def test_who_cannot_sign_is_429_and_who_can_is_served(limited: System) -> None:
    stranger = at(limited, "127.0.0.2")
    statuses = [forge(stranger).status_code for _ in range(FAILURES + 3)]

    assert statuses == [401] * FAILURES + [429] * 3
    assert int(forge(stranger).headers["retry-after"]) >= 1
    assert limited.post("hi").status_code == 202
    # The same address as somebody who is known by now.
    forged = [forge(limited.http).status_code for _ in range(FAILURES + 1)]
    assert forged == [401] * FAILURES + [429]
    assert limited.post("hi again").status_code == 202
    stranger.close()


def test_what_one_gateway_let_pass_another_one_counts(limited: System) -> None:
    port = free_port()
    limited.start("gateway", CLAWDBOT_APP__PORT=str(port)).wait_ready()
    second = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)
    number = 0

    def status(client: httpx.Client) -> int:
        nonlocal number
        number += 1
        fields = {"sender_id": "u", "content": "hi", "timestamp": 1, "conversation_id": "one"}
        body = json.dumps({**fields, "message_id": f"m{number}"}).encode()
        headers = {"X-Signature": limited.sign(body)}
        return client.post("/api/messages", content=body, headers=headers).status_code

    until(lambda: status(limited.http) == 429, 20, "the flood's end")
    accepted = 0
    while status(second) == 202:
        accepted += 1
        time.sleep(0.4)

    # By itself it would have let pass a whole burst and what leaks meanwhile.
    assert accepted < BURST
    second.close()
