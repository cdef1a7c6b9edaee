"""A door and its sessions over recording fakes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

import pytest

from clawdbot.gateway.adapters.jwt_auth import Tokens
from clawdbot.gateway.adapters.jwt_claims import Rules
from clawdbot.gateway.adapters.jwt_keys import secret_keys
from clawdbot.gateway.adapters.revocations import NothingRevoked
from clawdbot.gateway.adapters.socket_door import DoorLimits, Guest, Handshake, SocketDoor
from clawdbot.gateway.adapters.socket_outbox import Outbox, Overflow
from clawdbot.gateway.adapters.socket_session import Gone, SocketLimits, SocketServices
from clawdbot.gateway.domain.messages import API
from clawdbot.gateway.domain.sockets import Ending
from clawdbot.gateway.handlers.messages import Accept, Patience
from clawdbot.gateway.handlers.replies import Follower
from clawdbot.gateway.ports import RecordingInbox
from clawdbot.gateway.ports.reply_log import RecordingReplyLog
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Forbidden, Overloaded, Unavailable
from clawdbot.schema.ids import IdKey, MessageId, Tenant
from clawdbot.schema.messages import Delta, OutboundMessage

IDS = IdKey(b"0123456789abcdef")
SECRET = b"a secret of at least thirty-two bytes"


class RecordingConnection:
    """A peer that says what it is told to and reads while it may.

    Attributes:
        ending: how the connection was ended.
        may_read: cleared, it takes nothing.
        is_trusted: whether whole messages are taken.
    """

    def __init__(self) -> None:
        self.ending: Ending | None = None
        self.may_read = asyncio.Event()
        self.may_read.set()
        self.is_trusted = False
        self._said: asyncio.Queue[str | None] = asyncio.Queue()
        self._heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._ids = count(1)

    async def receive(self) -> str:
        said = await self._said.get()
        if said is None:
            raise Gone
        return said

    async def send(self, frame: str) -> None:
        await self.may_read.wait()
        self._heard.put_nowait(json.loads(frame))

    def trust(self) -> None:
        self.is_trusted = True

    def end(self, ending: Ending) -> None:
        self.ending = ending
        self._said.put_nowait(None)

    def leave(self) -> None:
        self._said.put_nowait(None)

    def say(self, method: str, **params: Any) -> str:
        request_id = str(next(self._ids))
        frame = {"type": "req", "id": request_id, "method": method, "params": params}
        self._said.put_nowait(json.dumps(frame))
        return request_id

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            return await self._heard.get()

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self.say(method, **params)
        answer = await self.hear()
        assert answer["type"] == "res", answer
        return answer


class House:
    """A door over fakes, with its tasks running."""

    def __init__(self, limits: SocketLimits, door: DoorLimits) -> None:
        self.log = RecordingReplyLog()
        self.inbox = RecordingInbox()
        accept = Accept(self.inbox, IDS, Patience())
        self.follower = follower = Follower(self.log, idle_s=0.05)
        services = SocketServices(
            accept,
            Tokens(secret_keys(SECRET), Rules(), NothingRevoked()),
            follower,
            self.log,
            limits,
        )
        self.door = SocketDoor(services, door)
        self.tasks = [asyncio.create_task(follower.run()), asyncio.create_task(self.door.tend())]

    @asynccontextmanager
    async def visitor(self, token: str | None = None) -> AsyncIterator[RecordingConnection]:
        """Let somebody in who has said nothing yet."""
        connection = RecordingConnection()
        serving = asyncio.create_task(self.door.serve(connection, Guest("10.0.0.1", token)))
        try:
            yield connection
        finally:
            connection.leave()
            async with asyncio.timeout(5):
                await serving

    def reply(self, name: str = "c", content: str = "hello", user: str = "ada") -> int:
        """Store a reply in a conversation of `user`."""
        conversation = IDS.conversation(Tenant("default"), API, json.dumps([user, name]))
        return self.log.store(
            OutboundMessage(
                channel=API,
                tenant=Tenant("default"),
                conversation_id=conversation,
                message_id=MessageId("m"),
                content=content,
                created_at_ms=1,
            )
        )

    def delta(self, text: str, name: str = "c") -> None:
        conversation = IDS.conversation(Tenant("default"), API, json.dumps(["ada", name]))
        self.log.tell(conversation, Delta(message_id=MessageId("m"), index=0, text=text))


@asynccontextmanager
async def house(limits: SocketLimits | None = None, **door: Any) -> AsyncIterator[House]:
    running = House(limits or SocketLimits(), DoorLimits(**door))
    try:
        yield running
    finally:
        for task in running.tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def ended(connection: RecordingConnection) -> int:
    async with asyncio.timeout(5):
        while connection.ending is None:
            await asyncio.sleep(0.001)
    return int(connection.ending.code)


async def test_a_reply_is_heard_with_its_number_by_whoever_sent_the_message(
    token: Callable[..., str],
) -> None:
    async with house() as ours, ours.visitor() as visitor:
        hello = await visitor.ask("connect", token=token())
        sent = await visitor.ask("send", conversation_id="c", content="hi", message_id="m1")
        ours.delta("he")
        delta = await visitor.hear()
        seq = ours.reply()
        heard = await visitor.hear()

    assert hello["result"] == {"user": "ada", "seq": 0, "gap": False, "conversations": []}
    assert visitor.is_trusted
    assert sent["result"]["status"] == "accepted"
    (kept,) = ours.inbox.kept.values()
    assert (kept.content, kept.sender_id, kept.channel) == ("hi", "ada", "api")
    assert (delta["event"], "seq" in delta, delta["data"]["text"]) == ("delta", False, "he")
    assert (heard["event"], heard["seq"], heard["data"]["content"]) == ("message", seq, "hello")


async def test_a_resumed_connection_gets_the_rest_before_what_is_new(
    token: Callable[..., str],
) -> None:
    async with house() as ours, ours.visitor() as visitor:
        for content in ("one", "two", "three"):
            ours.reply(content=content)
        ours.reply(user="eve")

        hello = await visitor.ask("connect", token=token(), conversations=["c"], resume={"seq": 1})
        seqs = [(await visitor.hear())["seq"] for _ in range(2)]
        ours.reply(content="four")
        new = await visitor.hear()

    assert (hello["result"]["seq"], hello["result"]["gap"]) == (1, False)
    assert (seqs, new["seq"]) == ([2, 3], 5)


async def test_a_replica_that_is_behind_repeats_nothing_that_another_one_told(
    token: Callable[..., str],
) -> None:
    async with house() as ours, ours.visitor() as early, ours.visitor() as visitor:
        await early.ask("connect", token=token())
        ours.log.pauses = iter([30, 30])
        seqs = [ours.reply(), ours.reply()]

        hello = await visitor.ask(
            "connect", token=token(), conversations=["c"], resume={"seq": seqs[-1]}
        )
        subscribed = await early.ask("subscribe", conversation_id="c", after_seq=seqs[-1])
        new = ours.reply()
        heard = [await each.hear() for each in (visitor, early)]

    assert (hello["result"]["seq"], hello["result"]["gap"]) == (2, False)
    assert subscribed["result"]["seq"] == 2
    assert [frame["seq"] for frame in heard] == [new, new]


@pytest.mark.parametrize(("first", "seq", "has_gap"), [(1, 0, False), (3, 1, True), (3, 2, False)])
async def test_what_the_stream_has_forgotten_is_said_to_be_a_gap(
    token: Callable[..., str], first: int, seq: int, has_gap: bool
) -> None:
    async with house() as ours, ours.visitor() as visitor:
        for _ in range(4):
            ours.reply()
        ours.log.first = first

        hello = await visitor.ask("connect", token=token(), resume={"seq": seq})

    assert hello["result"]["gap"] is has_gap


async def test_a_subscription_is_answered_when_what_it_missed_is_sent(
    token: Callable[..., str],
) -> None:
    async with house() as ours, ours.visitor() as visitor:
        await visitor.ask("connect", token=token())
        seqs = [ours.reply(), ours.reply()]
        await ours.follower.reach(2, Deadline.after(5))

        asked = visitor.say("subscribe", conversation_id="c", after_seq=0)
        heard = [await visitor.hear() for _ in range(3)]
        left = await visitor.ask("unsubscribe", conversation_id="c")
        ours.reply()
        last = await visitor.ask("ping")

    assert [frame.get("seq") for frame in heard[:2]] == seqs
    assert (heard[2]["id"], heard[2]["ok"]) == (asked, True)
    assert left["ok"]
    assert last["ok"]


async def test_an_error_is_answered_and_the_connection_goes_on(token: Callable[..., str]) -> None:
    async with house(SocketLimits(conversations=1)) as ours, ours.visitor() as visitor:
        await visitor.ask("connect", token=token())
        ours.inbox.failure = Unavailable("the broker is away")
        failed = await visitor.ask("send", conversation_id="c", content="hi")
        ours.inbox.failure = None
        unknown = await visitor.ask("dance")
        twice = await visitor.ask("connect", token=token())
        one_too_many = await visitor.ask("subscribe", conversation_id="d")
        alive = await visitor.ask("ping")

    codes = [answer["error"]["code"] for answer in (failed, unknown, twice, one_too_many)]
    assert codes == ["unavailable", "not_found", "conflict", "too_large"]
    assert alive["ok"]


async def test_a_reader_that_takes_nothing_is_sent_away_after_a_while(
    token: Callable[..., str],
) -> None:
    async with house(SocketLimits(stall_s=0.02)) as ours, ours.visitor() as visitor:
        await visitor.ask("connect", token=token())
        visitor.may_read.clear()
        visitor.say("ping")

        assert await ended(visitor) == 4008


async def test_a_queue_that_is_full_sends_its_reader_away_but_never_for_deltas(
    token: Callable[..., str],
) -> None:
    async with house(SocketLimits(queue_frames=8)) as ours, ours.visitor() as visitor:
        await visitor.ask("connect", token=token(), conversations=["c"])
        visitor.may_read.clear()
        for number in range(100):
            ours.delta(str(number))
        for _ in range(8):
            ours.reply()
        for _ in range(20):
            await asyncio.sleep(0)
        was_ended_by_deltas = visitor.ending
        for _ in range(9):
            ours.reply()
        code = await ended(visitor)

    assert was_ended_by_deltas is None
    assert code == 4008


async def test_a_slow_reader_that_catches_up_is_waited_for(token: Callable[..., str]) -> None:
    async with house(SocketLimits(queue_frames=8)) as ours, ours.visitor() as visitor:
        seqs = [ours.reply() for _ in range(100)]
        visitor.may_read.clear()
        visitor.say("connect", token=token(), conversations=["c"], resume={"seq": 0})
        for _ in range(50):
            await asyncio.sleep(0)
        visitor.may_read.set()
        await visitor.hear()
        heard = [(await visitor.hear())["seq"] for _ in seqs]

    assert heard == seqs
    assert visitor.ending is None


async def test_frames_that_come_too_fast_are_refused_and_then_not_read(
    token: Callable[..., str],
) -> None:
    async with house() as ours, ours.visitor() as visitor:
        await visitor.ask("connect", token=token())
        for _ in range(150):
            visitor.say("ping")
        answers = [await visitor.hear() for _ in range(150)]
        for _ in range(150):
            visitor.say("ping")

        assert await ended(visitor) == 4029

    refused = [answer for answer in answers if not answer["ok"]]
    assert {answer["error"]["code"] for answer in refused} == {"overloaded"}
    assert 0 < len(refused) < 60


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("{}", 4000),
        ('{"type": "req", "id": "1", "method": "dance"}', 4000),
        ('{"type": "req", "id": "1", "method": "ping"}', 4001),
        ('{"type": "req", "id": "1", "method": "connect"}', 4001),
    ],
)
async def test_whoever_does_not_say_who_they_are_is_sent_away(said: str, code: int) -> None:
    async with house() as ours, ours.visitor() as visitor:
        visitor._said.put_nowait(said)

        assert await ended(visitor) == code

    assert not visitor.is_trusted


async def test_a_connect_that_cannot_be_served_is_told_why_and_ends(
    token: Callable[..., str],
) -> None:
    async with house() as ours, ours.visitor() as visitor:
        ours.reply()
        await asyncio.sleep(0)
        crowd = [str(number) for number in range(33)]
        answer = await visitor.ask("connect", token=token(), conversations=crowd)

        assert await ended(visitor) == 4000

    assert answer["error"]["code"] == "too_large"


async def test_signs_of_life_come_by_themselves(token: Callable[..., str]) -> None:
    async with house(heartbeat_s=0.02) as ours, ours.visitor() as visitor:
        await visitor.ask("connect", token=token())

        assert (await visitor.hear())["event"] == "tick"


async def test_who_waits_for_an_answer_gets_it_before_the_gateway_stops(
    token: Callable[..., str],
) -> None:
    async with house() as ours, ours.visitor() as visitor:
        async with ours.door.closing():
            await visitor.ask("connect", token=token())
            visitor.may_read.clear()
            asked = visitor.say("ping")
            await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(0.02, visitor.may_read.set)
        answer = await visitor.hear()
        with pytest.raises(Unavailable):
            await ours.door.greet(Handshake("10.0.0.1", "gateway"))

    assert (answer["id"], await ended(visitor)) == (asked, 1012)


async def test_pages_of_strangers_and_a_crowd_of_unknown_are_not_let_in() -> None:
    async with house(connections=8, origins=frozenset({"https://app.example.org"})) as ours:
        for origin in ("http://gateway:8000", "https://APP.example.org"):
            await ours.door.greet(Handshake("10.0.0.1", "gateway:8000", [origin]))
        for origin in ("https://evil.example.org", "null", "http://gateway:9000", "http://["):
            with pytest.raises(Forbidden):
                await ours.door.greet(Handshake("10.0.0.1", "gateway:8000", [origin]))

        async with ours.visitor(), ours.visitor():
            await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                await ours.door.greet(Handshake("10.0.0.1", "gateway:8000"))


def test_an_outbox_drops_what_need_not_arrive_before_it_overflows() -> None:
    outbox = Outbox(2, 10)

    assert [outbox.offer("abc"), outbox.offer("def"), outbox.offer("g")] == [True, True, False]
    outbox.put("hi")
    outbox.put("jklmnop")
    with pytest.raises(Overflow):
        outbox.put("q")
    assert [outbox.pop(), outbox.pop(), bool(outbox)] == ["hi", "jklmnop", False]
    outbox.put("longer than it may hold")
    assert outbox.pop() == "longer than it may hold"
    with pytest.raises(IndexError):
        outbox.pop()
