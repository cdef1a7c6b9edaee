"""What happens when something is away or told to go."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.integration.system import System, until


def test_without_the_broker_nothing_is_accepted_and_nothing_is_lost(
    new_system: Callable[..., System],
) -> None:
    with new_system().running() as system:
        before = [system.post("/sysinfo", sender=f"before-{n}").json() for n in range(3)]
        for accepted in before:
            system.reply(accepted)

        system.portal.call(system.broker_process.kill)
        refused = system.post("/sysinfo", message_id="again")
        ready = system.http.get("/readyz")
        system.portal.call(system.broker_process.start)

        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert refused.headers["content-type"] == "application/problem+json"
        assert ready.status_code == 503
        assert "broker" in ready.text

        def accepted_now() -> httpx.Response | None:
            answer = system.post("/sysinfo", message_id="again")
            return answer if answer.status_code in (200, 202) else None

        accepted = until(accepted_now, 20, "the gateway recovering")
        assert system.reply(accepted.json())["kind"] == "reply"
        for message in before:
            assert system.status(message)["state"] == "answered"
        assert system.count("OUTBOUND") == 4


def test_what_was_accepted_before_the_broker_died_is_answered_after_it(
    new_system: Callable[..., System],
) -> None:
    with new_system().running("gateway", "memory", "inference", "executor") as system:
        waiting = [system.post("/sysinfo", sender=f"w-{n}").json() for n in range(5)]
        system.portal.call(system.broker_process.kill)
        system.portal.call(system.broker_process.start)

        system.add("assistant")

        for message in waiting:
            assert system.reply(message)["kind"] == "reply"


def test_sigterm_under_load_drains(new_system: Callable[..., System]) -> None:
    with new_system(bus={"max_attempts": 12}).running() as system:
        load = Load(system)
        with load.running():
            until(lambda: len(load.accepted) > 20, 30, "some load")
            for name in ("assistant", "memory", "inference", "executor"):
                service = system.find(name)
                assert service.terminate() == 0, service.log.read_text()[-2000:]
                system.add(name)
            gateway = system.find("gateway")
            assert gateway.terminate() == 0, gateway.log.read_text()[-2000:]
        system.add("gateway")

        assert set(load.refused) <= {503}
        for message in load.accepted:
            assert system.reply(message, within_s=90)["kind"] == "reply"
        assert system.count("OUTBOUND") == len(load.accepted)


class Load:
    """Four senders in twelve conversations, until the door closes."""

    def __init__(self, system: System) -> None:
        self.accepted: list[dict[str, str]] = []
        self.refused: list[int] = []
        self._system = system
        self._stop = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        senders = [threading.Thread(target=self._send, args=(n,)) for n in range(4)]
        for sender in senders:
            sender.start()
        try:
            yield
        finally:
            self._stop.set()
            for sender in senders:
                sender.join()

    def _send(self, sender: int) -> None:
        number = 0
        while not self._stop.wait(0.2):
            number += 1
            try:
                answer = self._system.post("/sysinfo", sender=f"load-{sender}-{number % 3}")
            except httpx.TransportError:
                # The door is closed: nothing was accepted.
                return
            if answer.status_code == 202:
                self.accepted.append(answer.json())
            else:
                self.refused.append(answer.status_code)


def test_a_memory_that_is_away_delays_the_answer_and_loses_nothing(
    new_system: Callable[..., System],
) -> None:
    with new_system(bus={"max_attempts": 9}).running(
        "gateway", "assistant", "inference", "executor"
    ) as system:
        accepted = system.post("/sysinfo").json()
        assistant = system.find("assistant")
        until(lambda: assistant.says("handled"), 20, "the first attempt")
        assert system.status(accepted)["state"] == "queued"

        system.add("memory")

        assert system.reply(accepted)["kind"] == "reply"
        assert system.dead_letters() == []


def test_a_turn_that_keeps_failing_is_said_once_and_kept(
    new_system: Callable[..., System],
) -> None:
    with new_system(bus={"max_attempts": 2}).running("gateway", "assistant") as system:
        reply = system.ask("My cat is called Tom.")

        assert reply["kind"] == "error"
        assert reply["metadata"]["error"]["code"] == "unavailable"
        assert reply["metadata"]["trace_id"] in reply["content"]
        [letter] = system.dead_letters()
        assert letter.stream == "INBOUND"
        assert letter.attempts == 2


@pytest.mark.proof
def test_random_kills_for_ten_minutes_lose_nothing(new_system: Callable[..., System]) -> None:
    rng = random.Random(1)
    with new_system().running() as system:
        system.add("assistant")
        accepted: list[dict[str, str]] = []
        end = time.monotonic() + 600
        number = 0
        next_kill = time.monotonic() + 5
        while time.monotonic() < end:
            number += 1
            try:
                answer = system.post(
                    "/sysinfo", sender=f"soak-{number % 40}", message_id=f"s{number}"
                )
            except httpx.TransportError:
                continue
            if answer.status_code == 202:
                accepted.append(answer.json())
            time.sleep(0.05)
            if time.monotonic() > next_kill:
                next_kill += 20
                victim = rng.choice(["assistant", "executor", "memory", "inference", "broker"])
                if victim == "broker":
                    system.portal.call(system.broker_process.kill)
                    system.portal.call(system.broker_process.start)
                else:
                    system.find(victim).kill()
                    system.start(victim)
        for message in accepted:
            assert system.reply(message, within_s=120)["kind"] == "reply"
        assert system.count("OUTBOUND") == len({m["message_id"] for m in accepted})
