from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.platforms.connections import Connection
from clawdbot.gateway.adapters.platforms.interface import PlatformMessage
from clawdbot.gateway.adapters.platforms.matrix import Matrix
from clawdbot.gateway.adapters.platforms.requests import RawRequest
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import split
from clawdbot.runtime.config import ConfigError
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import InvalidMessage, Overloaded, Rejected, Unauthenticated
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import OutboundMessage
from services.gateway.tests.platforms.matrix import (
    AS_TOKEN,
    BOT,
    EVENT,
    HS_TOKEN,
    PERSON,
    ROOM,
    ROOT_EVENT,
    SAMPLES,
    SENT,
    content,
    invited,
    request,
    said,
    transaction,
)
from services.gateway.tests.platforms.samples import NOW, Samples, account_of, adapter_of

HERE = {"room_id": ROOM, "event_id": EVENT, "thread": None}
THREAD = {**HERE, "thread": ROOT_EVENT}
IN_THREAD = {"m.relates_to": {"rel_type": "m.thread", "event_id": ROOT_EVENT}}


def with_settings(**settings: object) -> Samples:
    return replace(SAMPLES, settings={**SAMPLES.settings, **settings})


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    built = adapter_of(SAMPLES, tmp_path_factory.mktemp("secrets"))
    assert isinstance(built, Matrix)
    return built


def heard(adapter: Matrix, *events: object) -> tuple[PlatformMessage, ...]:
    return adapter.read(adapter.verify(request(transaction(*events)), NOW)).messages


class TestTheToken:
    @pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer "])
    def test_it_opens_the_door(self, adapter: Matrix, scheme: bytes) -> None:
        raw = replace(request(b""), headers=((b"authorization", scheme + HS_TOKEN),))

        adapter.admit(raw)

    @given(st.binary(max_size=100))
    def test_nothing_else_does(self, adapter: Matrix, value: bytes) -> None:
        for header in (value, b"Bearer " + value, b"Bearer " + AS_TOKEN, b"Basic " + HS_TOKEN):
            with pytest.raises(Unauthenticated):
                adapter.admit(replace(request(b""), headers=((b"authorization", header),)))

    def test_it_does_not_count_in_the_query(self, adapter: Matrix) -> None:
        with pytest.raises(Unauthenticated):
            adapter.admit(
                replace(request(b""), headers=(), query=(("access_token", HS_TOKEN.decode()),))
            )


class TestWhatIsHeard:
    def test_a_message_in_a_room(self, adapter: Matrix) -> None:
        (found,) = heard(adapter, said())

        assert (found.event_id, found.sender_id, found.content) == (EVENT, PERSON, "hello")
        assert (found.place, found.thread_id, found.timestamp) == ((ROOM, ""), None, 1_699_999_990)
        assert (found.address, found.in_group, found.holds_token) == (HERE, True, False)

    def test_a_message_in_a_thread(self, adapter: Matrix) -> None:
        (found,) = heard(adapter, said(content=content(**IN_THREAD)))

        assert (found.place, found.thread_id) == ((ROOM, ROOT_EVENT), ROOT_EVENT)
        assert found.address == THREAD

    def test_one_bad_event_does_not_hold_up_the_others(self, adapter: Matrix) -> None:
        found = heard(adapter, said(room_id=7), said("first"), said(content=[]), said("second"))

        assert [message.content for message in found] == ["first", "second"]

    @pytest.mark.parametrize(
        ("text", "content"),
        [
            (f"{BOT}: what?", "what?"),
            ("claw: /approve K7", "/approve K7"),
            ("@Claw, what?", "what?"),
            ("claw machines are fun", "claw machines are fun"),
            ("claw:", "claw:"),
        ],
    )
    def test_our_name_in_front_is_left_out(self, adapter: Matrix, text: str, content: str) -> None:
        assert heard(adapter, said(text))[0].content == content

    def test_rooms_may_count_as_direct_chats(self, tmp_path: Path) -> None:
        (found,) = heard(adapter_of(with_settings(direct=True), tmp_path), said())

        assert not found.in_group

    def test_only_what_mentions_us_is_heard_where_that_is_wanted(self, tmp_path: Path) -> None:
        adapter = adapter_of(with_settings(mentions_only=True), tmp_path)
        called = content(**{"m.mentions": {"user_ids": [BOT]}})
        other = content(body=f"{BOT} hi", **{"m.mentions": {"user_ids": [PERSON]}})

        assert [bool(heard(adapter, said(content=each))) for each in (called, other)] == [1, 0]
        assert heard(adapter, said(f"ask {BOT}"))
        assert not heard(adapter, said("ask claw"))

    def test_a_file_and_its_caption(self, adapter: Matrix) -> None:
        image = {
            "msgtype": "m.image",
            "url": "mxc://example.org/Ab-1_x",
            "info": {"mimetype": "a/b"},
        }

        (plain,) = heard(adapter, said(content={**image, "body": "cat.png"}))
        (named,) = heard(adapter, said(content={**image, "body": "look", "filename": "cat.png"}))

        assert (plain.content, named.content) == ("", "look")
        (file,) = named.attachments
        assert (file.type, file.url) == ("image", "mxc://example.org/Ab-1_x")
        assert (file.name, file.media_type) == ("cat.png", "a/b")

    def test_an_encrypted_file_is_none(self, adapter: Matrix) -> None:
        encrypted = {"msgtype": "m.file", "body": "a.txt", "file": {"url": "mxc://a/b"}}

        assert heard(adapter, said(content=encrypted)) == ()

    @given(st.data())
    def test_whatever_stands_in_a_field_it_is_read_or_refused(
        self, adapter: Matrix, data: st.DataObject
    ) -> None:
        values = st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
            max_leaves=5,
        )
        inside = st.dictionaries(
            st.sampled_from([*content(), "m.relates_to", "m.mentions", "url", "info", "filename"]),
            values,
        )
        fields = data.draw(st.dictionaries(st.sampled_from(list(said())), values))
        event = {**said(content=content(**data.draw(inside))), **fields}

        try:
            adapter.read(adapter.verify(request(transaction(event)), NOW))
        except (BadPayload, InvalidMessage):
            return

    def test_other_paths_are_not_served(self, adapter: Matrix) -> None:
        for method, path in (("GET", "transactions/1"), ("PUT", "ping"), ("POST", "else")):
            found = adapter.read(adapter.verify(request(b"{}", path=path, method=method), NOW))
            assert (found.answer.status, found.messages) == (404, ())


class TestInvitations:
    def rooms(self, adapter: Matrix, *events: object) -> object:
        found = adapter.read(adapter.verify(request(transaction(*events)), NOW)).follow_up
        return None if found is None else found["rooms"]

    def test_those_of_the_own_homeserver_are_accepted(self, adapter: Matrix) -> None:
        assert self.rooms(adapter, invited()) == [ROOM]
        assert self.rooms(adapter, invited("@eve:elsewhere.example")) is None
        assert self.rooms(adapter, invited(user=PERSON)) is None
        assert self.rooms(adapter, invited(membership="join")) is None

    def test_they_are_accepted_beside_an_event_that_cannot_be_read(self, adapter: Matrix) -> None:
        assert self.rooms(adapter, said(room_id=7), invited()) == [ROOM]

    @pytest.mark.parametrize(("joins", "expected"), [("anybody", [ROOM]), ("nobody", None)])
    def test_whose_is_configured(self, tmp_path: Path, joins: str, expected: object) -> None:
        adapter = adapter_of(with_settings(joins=joins), tmp_path)
        assert isinstance(adapter, Matrix)

        assert self.rooms(adapter, invited("@eve:elsewhere.example")) == expected


class Homeserver:
    """Plays a homeserver: transaction ids are taken once, events have their limit."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.sent: dict[str, str] = {}
        self.next_answer: httpx.Response | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        self.calls.append((request.method, unquote(path), json.loads(request.content)))
        if self.next_answer is not None:
            return self.next_answer
        if request.headers["authorization"] != f"Bearer {AS_TOKEN.decode()}":
            return httpx.Response(401, json={"errcode": "M_UNKNOWN_TOKEN"})
        if len(request.content) > 65_536 - 1024:
            return httpx.Response(413, json={"errcode": "M_TOO_LARGE"})
        event_id = self.sent.setdefault(path, f"{SENT}{len(self.sent)}")
        return httpx.Response(200, json={"event_id": event_id})


Connected = tuple[Matrix, Homeserver]


@pytest.fixture
def connected(tmp_path: Path) -> Connected:
    server = Homeserver()
    client = httpx.AsyncClient(transport=httpx.MockTransport(server))
    built = adapter_of(SAMPLES, tmp_path, client)
    assert isinstance(built, Matrix)
    return built, server


def part(text: str = "hi", index: int = 0, count: int = 1) -> ReplyPart:
    reply = OutboundMessage(
        channel=Channel("matrix"),
        tenant=Tenant("default"),
        conversation_id=ConversationId("conversation"),
        message_id=MessageId("message"),
        content=text,
        created_at_ms=1_700_000_000_500,
    )
    return ReplyPart(reply, text, index, count, "thekeyofthispart")


class TestWhatIsSent:
    async def test_a_notice_that_answers_the_message(self, connected: Connected) -> None:
        adapter, server = connected

        sent_id = await adapter.send(part(), HERE, deadline=Deadline.after(5))

        ((method, path, body),) = server.calls
        where = f"/_matrix/client/v3/rooms/{ROOM}/send/m.room.message/thekeyofthispart"
        assert (sent_id, method, path) == (f"{SENT}0", "PUT", where)
        relation = {"m.in_reply_to": {"event_id": EVENT}}
        assert body == {"msgtype": "m.notice", "body": "hi", "m.relates_to": relation}

    async def test_a_later_part_quotes_nothing(self, connected: Connected) -> None:
        adapter, server = connected

        await adapter.send(part("more", 1, 2), HERE, deadline=Deadline.after(5))

        assert "m.relates_to" not in server.calls[0][2]

    async def test_a_thread_goes_on_in_its_thread(self, connected: Connected) -> None:
        adapter, server = connected

        await adapter.send(part("more", 1, 2), THREAD, deadline=Deadline.after(5))

        assert server.calls[0][2]["m.relates_to"] == {
            "rel_type": "m.thread",
            "event_id": ROOT_EVENT,
            "is_falling_back": True,
            "m.in_reply_to": {"event_id": EVENT},
        }

    async def test_the_same_part_twice_shows_once(self, connected: Connected) -> None:
        adapter, server = connected

        ids = [await adapter.send(part(), HERE, deadline=Deadline.after(5)) for _ in range(2)]

        assert ids[0] == ids[1]
        assert len(server.sent) == 1

    async def test_an_edit_replaces_under_a_key_of_its_own_text(self, connected: Connected) -> None:
        adapter, server = connected

        for text in ("better", "best", "best"):
            await adapter.edit(SENT, part(text), HERE, deadline=Deadline.after(5))

        assert len(server.sent) == 2
        _, _, body = server.calls[-1]
        assert (body["body"], body["m.new_content"]["body"]) == ("* best", "best")
        assert body["m.relates_to"] == {"rel_type": "m.replace", "event_id": SENT}

    @pytest.mark.parametrize("text", ['"\n' * 30_000, "😀 " * 12_000, "word " * 12_000])
    async def test_parts_of_any_text_fit_and_so_do_their_edits(
        self, connected: Connected, text: str
    ) -> None:
        adapter, server = connected

        for piece in split(text, adapter.limits.text):
            await adapter.send(part(piece), HERE, deadline=Deadline.after(5))
            await adapter.edit(SENT, part(piece), HERE, deadline=Deadline.after(5))

        assert server.calls

    async def test_an_older_homeserver_names_the_wait_in_the_body(
        self, connected: Connected
    ) -> None:
        adapter, server = connected
        told = {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 2500}
        server.next_answer = httpx.Response(429, json=told)

        with pytest.raises(Overloaded) as error:
            await adapter.send(part(), HERE, deadline=Deadline.after(5))

        assert error.value.retry_after_s == 2.5

    async def test_a_file_is_asked_of_our_homeserver(self, connected: Connected) -> None:
        adapter, _ = connected
        image = {"msgtype": "m.file", "body": "a.txt", "url": "mxc://elsewhere.example:80/Ab"}
        (file,) = heard(adapter, said(content=image))[0].attachments

        found = await adapter.locate(file, HERE, deadline=Deadline.after(5))

        below = "/_matrix/client/v1/media/download/elsewhere.example%3A80/Ab"
        assert found.url == f"https://matrix.example.org{below}"
        assert found.hosts == {"matrix.example.org"}
        with pytest.raises(Rejected):
            other = file.model_copy(update={"url": "mxc://a/../b"})
            await adapter.locate(other, HERE, deadline=Deadline.after(5))


class TestTheWholeDoor:
    """Paths below the account's, and what is done before the answer."""

    @pytest_asyncio.fixture
    async def ask(self, door, connected: Connected, tmp_path: Path) -> AsyncIterator[Callable]:
        door.connections.append(Connection(account_of(SAMPLES, tmp_path), connected[0]))
        transport = httpx.ASGITransport(door.app(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:

            async def send(raw: RawRequest, account: str = "") -> httpx.Response:
                path = urlsplit(raw.url).path.replace("/matrix/_", f"/matrix{account}/_")
                return await client.request(
                    raw.method, path, content=raw.body, headers=list(raw.headers)
                )

            yield send

    async def test_an_invitation_is_accepted_before_it_is_acknowledged(
        self, ask: Callable, connected: Connected
    ) -> None:
        answer = await ask(request(transaction(invited())))

        assert (answer.status_code, answer.json()) == (200, {})
        assert connected[1].calls == [("POST", f"/_matrix/client/v3/join/{ROOM}", {})]

    async def test_a_room_that_cannot_be_joined_holds_up_nothing(
        self, door, ask: Callable, connected: Connected
    ) -> None:
        connected[1].next_answer = httpx.Response(403, json={"errcode": "M_FORBIDDEN"})

        answer = await ask(request(transaction(invited(), said())))

        assert (answer.status_code, len(door.inbox.kept)) == (200, 1)

    async def test_the_account_has_its_paths_too(self, door, ask: Callable) -> None:
        answer = await ask(request(transaction(said())), "/default")

        assert (answer.status_code, len(door.inbox.kept)) == (200, 1)

    async def test_paths_of_nobody_are_404(self, door, ask: Callable) -> None:
        answer = await ask(request(transaction(said()), path="transactions/1/2"))

        assert answer.status_code == 404
        assert (await ask(request(transaction(said()), path="else"))).status_code == 404
        assert not door.inbox.kept


class TestSettings:
    @pytest.mark.parametrize("missing", ["api_base", "user_id"])
    def test_the_homeserver_and_the_bot_are_needed(self, tmp_path: Path, missing: str) -> None:
        settings = {name: value for name, value in SAMPLES.settings.items() if name != missing}

        with pytest.raises(ConfigError, match=missing):
            adapter_of(replace(SAMPLES, settings=settings), tmp_path)

    @pytest.mark.parametrize("user_id", ["claw", "@claw", "claw:example.org", "@a b:example.org"])
    def test_a_name_that_is_none_is_refused(self, tmp_path: Path, user_id: str) -> None:
        with pytest.raises(ConfigError, match="user_id"):
            adapter_of(with_settings(user_id=user_id), tmp_path)
