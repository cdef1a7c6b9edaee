"""The broker as our child, with the real binary."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from secrets import token_hex

import nats
import pytest
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from clawdbot.runtime.broker import (
    BrokerCredentials,
    BrokerProcess,
    BrokerSettings,
    find_nats_server,
    new_user_seed,
    render_broker_config,
)
from clawdbot.runtime.broker_binary import MINIMUM, server_version
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.permissions import OPERATOR, PROVISIONER, USERS, inbox

SEEDS = {user: new_user_seed() for user in USERS}
CREDENTIALS = BrokerCredentials.from_seeds(SEEDS, "1e5" + token_hex(16))
SUBJECT = "claw.in.default.conversation.message"

Connect = Callable[[BrokerProcess, str], AbstractAsyncContextManager[Client]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def settings(tmp_path: Path) -> BrokerSettings:
    return BrokerSettings(tmp_path / "nats", free_port())


@pytest.fixture
async def broker(settings: BrokerSettings) -> AsyncIterator[BrokerProcess]:
    async with BrokerProcess(settings, CREDENTIALS) as running:
        yield running


class Refusals:
    """Collects what the broker refuses."""

    def __init__(self) -> None:
        self.errors: asyncio.Queue[Exception] = asyncio.Queue()

    async def note(self, error: Exception) -> None:
        await self.errors.put(error)

    async def next(self) -> str:
        async with asyncio.timeout(5):
            return str(await self.errors.get())


@asynccontextmanager
async def connected(
    broker: BrokerProcess, user: str, refusals: Refusals | None = None
) -> AsyncIterator[Client]:
    client = await nats.connect(
        broker.url,
        nkeys_seed_str=SEEDS[user].decode(),
        inbox_prefix=inbox(user),
        allow_reconnect=False,
        error_cb=(refusals or Refusals()).note,
    )
    try:
        yield client
    finally:
        await client.close()


async def store(broker: BrokerProcess, body: bytes) -> None:
    async with connected(broker, PROVISIONER) as client:
        await client.jetstream().add_stream(name="INBOUND", subjects=["claw.in.>"])
    async with connected(broker, "gateway") as client:
        await client.jetstream().publish(SUBJECT, body)


async def stored(broker: BrokerProcess) -> bytes | None:
    async with connected(broker, OPERATOR) as client:
        return (await client.jetstream().get_last_msg("INBOUND", SUBJECT)).data


def config_of(durability: str = "strict") -> str:
    settings = BrokerSettings(Path("/data"), 4222, durability)  # type: ignore[arg-type]  # parametrised
    return render_broker_config(settings, CREDENTIALS.public_keys)


async def test_a_user_who_publishes_elsewhere_is_refused(broker: BrokerProcess) -> None:
    refusals = Refusals()

    async with connected(broker, "memory", refusals) as client:
        await client.publish(SUBJECT, b"forged")
        await client.flush()

        assert "permissions violation for publish" in (await refusals.next()).lower()


async def test_a_user_who_listens_elsewhere_is_refused(broker: BrokerProcess) -> None:
    refusals = Refusals()

    async with connected(broker, "inference", refusals) as client:
        await client.subscribe("claw.in.>")
        await client.flush()

        assert "permissions violation for subscription" in (await refusals.next()).lower()


async def test_a_service_hears_its_rpc_in_its_own_queue_group_alone(broker: BrokerProcess) -> None:
    refusals = Refusals()

    async with connected(broker, "memory", refusals) as client:
        await client.subscribe("claw.rpc.memory.recall", queue="memory")
        await client.flush()
        assert refusals.errors.empty()
        await client.subscribe("claw.rpc.memory.recall")
        await client.flush()

        assert "permissions violation for subscription" in (await refusals.next()).lower()


async def answer(subscription: Subscription, times: int) -> None:
    request = await subscription.next_msg(timeout=5)
    for index in range(times):
        await request.respond(str(index).encode())


async def test_a_service_may_answer_a_request_many_times(broker: BrokerProcess) -> None:
    refusals = Refusals()
    async with (
        connected(broker, "inference", refusals) as server,
        connected(broker, "gateway") as caller,
    ):
        heard = await server.subscribe("claw.rpc.inference.m.chat", queue="inference")
        await server.flush()
        reply_to = f"{inbox('gateway')}.answers"
        answers = await caller.subscribe(reply_to)

        await caller.publish("claw.rpc.inference.m.chat", b"", reply=reply_to)
        await answer(heard, times=3)

        assert [(await answers.next_msg(timeout=5)).data for _ in range(3)] == [b"0", b"1", b"2"]
        assert refusals.errors.empty()


async def test_a_service_may_not_answer_who_did_not_ask(broker: BrokerProcess) -> None:
    refusals = Refusals()

    async with connected(broker, "inference", refusals) as client:
        await client.publish(f"{inbox('gateway')}.answers", b"unasked")
        await client.flush()

        assert "permissions violation for publish" in (await refusals.next()).lower()


async def test_only_the_provisioner_and_the_operator_create_streams(broker: BrokerProcess) -> None:
    refusals = Refusals()

    async with connected(broker, "assistant", refusals) as client:
        with pytest.raises((TimeoutError, NoRespondersError)):
            await client.jetstream(timeout=0.2).add_stream(name="MINE", subjects=["mine"])

        assert "permissions violation for publish" in (await refusals.next()).lower()


async def test_a_stranger_is_not_let_in(broker: BrokerProcess) -> None:
    refusals = Refusals()

    client = Client()

    with pytest.raises(NatsError, match=r"(?i)authorization violation"):
        await client.connect(
            broker.url,
            nkeys_seed_str=new_user_seed().decode(),
            allow_reconnect=False,
            error_cb=refusals.note,
        )
    await client.close()


async def test_what_is_stored_is_not_readable_on_disk(
    broker: BrokerProcess, settings: BrokerSettings
) -> None:
    canary = f"canary-{token_hex(16)}".encode()

    await store(broker, canary * 100)

    files = [path for path in settings.directory.rglob("*") if path.is_file()]
    assert any(path.suffix == ".blk" and path.stat().st_size > 3000 for path in files)
    assert not any(canary in path.read_bytes() for path in files)
    assert await stored(broker) == canary * 100


def test_the_encryption_key_stands_neither_in_the_configuration_nor_in_a_repr() -> None:
    assert CREDENTIALS.jetstream_key not in config_of()
    assert CREDENTIALS.jetstream_key not in repr(CREDENTIALS)


@pytest.mark.usefixtures("broker")
async def test_the_configuration_is_readable_by_its_owner_alone(settings: BrokerSettings) -> None:
    assert (settings.directory / "nats-server.conf").stat().st_mode & 0o777 == 0o600
    assert settings.directory.stat().st_mode & 0o777 == 0o700


async def test_streams_survive_a_restart(broker: BrokerProcess) -> None:
    await store(broker, b"kept")

    await broker.restart()

    assert await stored(broker) == b"kept"


async def test_stored_messages_survive_a_kill(broker: BrokerProcess) -> None:
    await store(broker, b"kept")

    await broker.kill()
    await broker.start()

    assert await stored(broker) == b"kept"


async def test_another_key_is_refused_and_harms_nothing(
    broker: BrokerProcess, settings: BrokerSettings
) -> None:
    await store(broker, b"kept")
    await broker.stop()
    other = BrokerCredentials(CREDENTIALS.public_keys, "another")

    with pytest.raises(Unavailable, match="encrypted with another key"):
        await BrokerProcess(settings, other).start()

    await broker.start()
    assert await stored(broker) == b"kept"


@pytest.mark.usefixtures("broker")
async def test_a_taken_port_is_named_with_its_setting(settings: BrokerSettings) -> None:
    second = BrokerProcess(settings, CREDENTIALS)

    with pytest.raises(Unavailable, match=str(settings.port)) as refused:
        await second.start()

    assert "bus.url" in (refused.value.fix or "")


async def test_a_broker_that_ends_early_is_reported_with_its_last_words(
    settings: BrokerSettings, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'disk is full' >&2\nexit 3\n")
    broken.chmod(0o700)

    with pytest.raises(Unavailable, match=r"status 3: disk is full"):
        await BrokerProcess(settings, CREDENTIALS, executable=broken).start()


async def test_log_lines_reach_their_reader(settings: BrokerSettings) -> None:
    lines: list[str] = []

    async with BrokerProcess(settings, CREDENTIALS, on_line=lines.append):
        pass

    assert any("Server is ready" in line for line in lines)


ORPHANING = """
import asyncio, pathlib, sys
from clawdbot.runtime.broker import *
from clawdbot.schema.permissions import USERS

async def main():
    seeds = {user: new_user_seed() for user in USERS}
    settings = BrokerSettings(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
    async with BrokerProcess(settings, BrokerCredentials.from_seeds(seeds, "key")):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def is_listening(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.slow
async def test_a_killed_parent_leaves_no_broker_behind(settings: BrokerSettings) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        ORPHANING,
        str(settings.directory),
        str(settings.port),
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"ready\n"
    assert await is_listening(settings.port)

    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()

    async with asyncio.timeout(10):
        while await is_listening(settings.port):
            await asyncio.sleep(0.05)


def test_strict_writes_are_on_disk_before_they_are_acknowledged() -> None:
    assert "sync_interval: always" in config_of()
    assert "sync_interval: 1s" in config_of("relaxed")


def test_the_store_is_encrypted_with_a_key_from_the_environment() -> None:
    assert "cipher: aes\n  key: $JS_KEY\n" in config_of()


def test_monitoring_is_off_unless_asked_for_and_then_on_loopback() -> None:
    asked = BrokerSettings(Path("/data"), 4222, monitoring_port=8222, host="10.0.0.1")

    rendered = render_broker_config(asked, CREDENTIALS.public_keys)

    assert "http" not in config_of()
    assert 'http: "127.0.0.1:8222"' in rendered


def test_the_binary_found_is_new_enough() -> None:
    assert server_version(find_nats_server()) >= MINIMUM


def test_an_old_server_on_the_path_is_passed_over(tmp_path: Path) -> None:
    old = tmp_path / "nats-server"
    old.write_text("#!/bin/sh\necho 'nats-server: v2.9.10'\n")
    old.chmod(0o700)

    assert find_nats_server(str(tmp_path)) != old


def test_a_new_server_on_the_path_is_preferred(tmp_path: Path) -> None:
    new = tmp_path / "nats-server"
    new.write_text("#!/bin/sh\necho 'nats-server: v2.12.3'\n")
    new.chmod(0o700)

    assert find_nats_server(str(tmp_path)) == new


def test_a_bundled_binary_with_another_hash_is_refused() -> None:
    platforms = ("linux-x86_64", "linux-aarch64", "darwin-arm64", "darwin-x86_64")

    with pytest.raises(Unavailable, match=r"is not the nats-server that we know"):
        find_nats_server("", dict.fromkeys(platforms, "0" * 64))


def test_an_unknown_platform_is_refused_by_name() -> None:
    with pytest.raises(Unavailable, match="no pinned nats-server for the platform"):
        find_nats_server("", {})
