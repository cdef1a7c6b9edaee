from __future__ import annotations

import html
import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

import httpx
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.platforms.connections import Connection
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest, Verified
from clawdbot.gateway.adapters.platforms.slack_payloads import escaped
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.runtime.config import ConfigError
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import (
    ClawdbotError,
    InvalidMessage,
    Overloaded,
    Rejected,
    Unauthenticated,
    Unavailable,
)
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import OutboundMessage
from services.gateway.tests.platforms.samples import NOW, Samples, account_of, adapter_of
from services.gateway.tests.platforms.slack import (
    BOT,
    BOT_TOKEN,
    CHANNEL,
    SAMPLES,
    SIGNING_SECRET,
    TS,
    USER,
    payload,
    request,
)

PUBLISHED_AT = 1531420618
PUBLISHED = RawRequest(
    method="POST",
    url="/",
    headers=(
        (b"x-slack-request-timestamp", b"1531420618"),
        (
            b"x-slack-signature",
            b"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        ),
    ),
    body=(
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow"
        b"&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner"
        b"&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands"
        b"%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    ),
)
RESPONSE_URL = "https://hooks.slack.com/commands/T1DC2JH3J/397700885554/96rGlfmibIGlgcZRskXaIFfN"
POST_MESSAGE = "https://slack.com/api/chat.postMessage"
THREAD = {"channel": CHANNEL, "thread_ts": TS}
ASKED = {"response_url": RESPONSE_URL, "channel": CHANNEL, "user": USER}


def configured(**settings: object) -> Samples:
    return replace(SAMPLES, settings=settings)


def form(**changes: str) -> bytes:
    fields = {
        "command": "/ask",
        "text": "how are you?",
        "user_id": USER,
        "channel_id": CHANNEL,
        "trigger_id": "13345224609.738474920.8088930838d88f008e0",
        "response_url": RESPONSE_URL,
        **changes,
    }
    return urlencode(fields).encode()


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Any]:
    def received(body: bytes, samples: Samples = SAMPLES) -> Any:
        adapter = adapter_of(samples, tmp_path)
        return adapter.read(adapter.verify(request(body, NOW), NOW))

    return received


class TestSignatures:
    def test_the_published_command_is_authentic_and_says_its_name(self, tmp_path: Path) -> None:
        adapter = adapter_of(SAMPLES, tmp_path)

        (message,) = adapter.read(adapter.verify(PUBLISHED, PUBLISHED_AT)).messages

        assert (message.sender_id, message.content) == ("U2CERLKJA", "/webhook-collect")
        assert message.event_id == "398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
        assert message.address["response_url"] == RESPONSE_URL
        assert message.holds_token

    def test_the_old_and_the_new_secret_are_believed_while_they_change(
        self, tmp_path: Path
    ) -> None:
        old, new = b"the old signing secret of it", SIGNING_SECRET
        secrets = {**SAMPLES.secrets, "signing_secret": new + b"\n" + old}
        adapter = adapter_of(replace(SAMPLES, secrets=secrets), tmp_path)

        for key in (old, new):
            adapter.verify(request(payload(), NOW, key), NOW)

        with pytest.raises(Unauthenticated):
            adapter.verify(request(payload(), NOW, b"somebody else's secret"), NOW)

    @pytest.mark.parametrize(
        "signature",
        [
            PUBLISHED.headers[1][1][3:],
            PUBLISHED.headers[1][1].upper(),
            b"v1=" + PUBLISHED.headers[1][1][3:],
            PUBLISHED.headers[1][1] + b"0",
            PUBLISHED.headers[1][1][:-1],
            b"v0=",
        ],
    )
    def test_nothing_but_the_v0_signature_will_do(self, tmp_path: Path, signature: bytes) -> None:
        forged = (PUBLISHED.headers[0], (b"x-slack-signature", signature))

        with pytest.raises(Unauthenticated):
            adapter_of(SAMPLES, tmp_path).verify(replace(PUBLISHED, headers=forged), PUBLISHED_AT)

    def test_no_other_body_time_or_signature_is_ever_accepted(self, tmp_path_factory) -> None:
        adapter = adapter_of(SAMPLES, tmp_path_factory.mktemp("secrets"))
        (_, stamp), (_, signature) = PUBLISHED.headers

        @given(st.sampled_from(["stamp", "signature", "body"]), st.integers(0), st.integers(1, 255))
        def holds(what: str, at: int, change: int) -> None:
            parts = {"stamp": stamp, "signature": signature, "body": PUBLISHED.body}
            text = bytearray(parts[what])
            text[at % len(text)] ^= change
            parts[what] = bytes(text)
            headers = (
                (b"x-slack-request-timestamp", parts["stamp"]),
                (b"x-slack-signature", parts["signature"]),
            )

            with pytest.raises(Unauthenticated):
                adapter.verify(RawRequest("POST", "/", (), headers, parts["body"]), PUBLISHED_AT)

        holds()

    def test_a_token_that_is_no_text_is_refused_at_start(self, tmp_path: Path) -> None:
        secrets = {
            **SAMPLES.secrets,
            "bot_token": "xoxb-\u00e4".encode() * 4,
        }

        with pytest.raises(ValueError, match="ASCII"):
            adapter_of(replace(SAMPLES, secrets=secrets), tmp_path)

    def test_an_unknown_visibility_is_refused_at_start(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="command_replies"):
            adapter_of(configured(command_replies="everybody"), tmp_path)


class TestEvents:
    def test_a_message_in_a_channel_starts_a_thread_that_goes_on(self, read) -> None:
        (first,) = read(payload()).messages
        (later,) = read(payload(ts="1699999999.000100", thread_ts=TS)).messages

        assert first.place == later.place == (CHANNEL, TS)
        assert first.thread_id == later.thread_id == TS
        assert first.address == later.address == {"channel": CHANNEL, "thread_ts": TS}
        assert (first.timestamp, first.holds_token) == (1699999990, False)
        assert first.event_id != later.event_id

    def test_a_direct_message_needs_no_thread(self, read) -> None:
        (flat,) = read(payload(channel="D024BE91L", channel_type="im")).messages
        (threaded,) = read(payload(channel="D024BE91L", thread_ts="1699999980.000100")).messages

        assert (flat.place, flat.thread_id) == (("D024BE91L", ""), None)
        assert threaded.place == ("D024BE91L", "1699999980.000100")

    def test_a_mention_and_its_message_are_one_event_in_one_place(self, read) -> None:
        text = f"<@{BOT}> hello"
        (message,) = read(payload(text=text, channel_type="channel")).messages
        (mention,) = read(payload(text=text, type="app_mention")).messages

        assert (message.event_id, message.place) == (mention.event_id, mention.place)
        assert message.content == mention.content == "hello"

    @pytest.mark.parametrize(
        ("text", "content"),
        [
            ("a &lt;b&gt; &amp;amp; c", "a <b> &amp; c"),
            ("see <https://a.example/?x=1&amp;y=2|the page>", "see https://a.example/?x=1&y=2"),
            ("see <https://a.example>", "see https://a.example"),
            ("ask <@U111> in <#C222|general>", "ask <@U111> in <#C222|general>"),
            (f"<@{BOT}>", f"<@{BOT}>"),
            ("nul \x00 here", "nul \ufffd here"),
        ],
    )
    def test_text_is_read_as_it_was_typed(self, read, text: str, content: str) -> None:
        (message,) = read(payload(text=text)).messages

        assert message.content == content

    @pytest.mark.parametrize("subtype", ["file_share", "thread_broadcast", "me_message"])
    def test_other_ways_to_say_something_count(self, read, subtype: str) -> None:
        assert read(payload(subtype=subtype)).messages

    def test_files_are_named_by_their_id_and_never_by_their_address(self, read) -> None:
        files = [
            {"id": "F1", "name": "x" * 300, "mimetype": "image/png", "url_private": "https://x"},
            {"id": "F2", "name": "notes\x00.txt", "mimetype": "text/plain"},
            {"id": "F3", "mode": "tombstone"},
        ]
        (message,) = read(payload(subtype="file_share", text="", files=files)).messages

        first, second = message.attachments
        assert (first.type, first.url, first.media_type) == ("image", "slack:F1", "image/png")
        assert len(first.name) == 255
        assert (second.type, second.url, second.name) == ("file", "slack:F2", "notes\ufffd.txt")

    def test_a_person_who_installed_the_app_is_no_bot(self, read) -> None:
        body = payload().replace(BOT.encode(), USER.encode()).replace(b"true", b"false")

        assert read(body).messages

    @pytest.mark.parametrize(
        "body",
        [
            payload(channel=...),
            payload(ts=...),
            payload(ts="yesterday"),
            payload(ts="1699999990"),
            payload(text=7),
            payload(bot_id=7),
            payload(channel={"id": CHANNEL}),
            payload(files=[{"id": "../../etc"}]),
            b'{"type":"url_verification"}',
            b'{"event":{}}',
        ],
    )
    def test_a_wrong_field_is_refused(self, read, body: bytes) -> None:
        with pytest.raises(InvalidMessage):
            read(body)

    @pytest.mark.slow
    def test_any_object_and_any_form_is_read_or_refused(self, tmp_path_factory) -> None:
        adapter = adapter_of(SAMPLES, tmp_path_factory.mktemp("secrets"))
        sample = json.loads(payload())
        others = "subtype files mode command payload ssl_check response_url trigger_id challenge"
        known = st.sampled_from([*sample, *sample["event"], *others.split()])
        values = st.sampled_from(["message", "event_callback", "url_verification", TS, CHANNEL])
        leaves = st.none() | st.booleans() | st.integers() | st.text() | values
        trees = st.recursive(
            leaves, lambda inner: st.lists(inner) | st.dictionaries(known | st.text(), inner)
        )
        bodies = (
            st.dictionaries(known, trees).map(json.dumps)
            | st.fixed_dictionaries(
                {"type": st.just("event_callback"), "event": st.dictionaries(known, trees)}
            ).map(json.dumps)
            | st.dictionaries(known, st.text()).map(urlencode)
            | trees.map(lambda tree: "payload=" + quote_plus(json.dumps(tree)))
            | st.text()
        )

        @given(bodies.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary())
        def holds(body: bytes) -> None:
            try:
                adapter.read(Verified(PUBLISHED, body))
            except (BadPayload, InvalidMessage):
                return

        holds()


class TestCommands:
    def test_the_text_of_a_command_is_what_is_said(self, read) -> None:
        received = read(form())

        (message,) = received.messages
        assert (message.content, message.holds_token) == ("how are you?", True)
        assert message.address == ASKED
        assert received.answer == HTTPAnswer()

    def test_our_own_commands_keep_their_name(self, read) -> None:
        (message,) = read(form(command="/approve", text=" 42 ")).messages

        assert message.content == "/approve 42"

    def test_what_only_its_sender_sees_is_a_conversation_of_its_own(self, read) -> None:
        (message,) = read(form()).messages
        (other,) = read(form(user_id="U999")).messages
        (shared,) = read(form(), configured(command_replies="in_channel")).messages
        (direct,) = read(form(channel_id="D1")).messages

        assert len({message.place, other.place, shared.place}) == 3
        assert direct.place == ("D1", "")

    def test_a_shared_command_is_shown_to_the_channel(self, read) -> None:
        answer = read(form(), configured(command_replies="in_channel")).answer

        assert json.loads(answer.body) == {"response_type": "in_channel"}

    @pytest.mark.parametrize(
        "url",
        [
            "http://hooks.slack.com/commands/1",
            "https://hooks.slack.com.evil.example/commands/1",
            "https://hooks.slack.com@evil.example/",
            "https://hooks.slack.com:8443/commands/1",
            "https://evil.example/https://hooks.slack.com/",
            "https://[::1/",
            "http://169.254.169.254/latest/meta-data",
            "file:///etc/passwd",
            "x",
        ],
    )
    def test_replies_go_to_slack_and_nowhere_else(self, read, url: str) -> None:
        with pytest.raises(InvalidMessage, match="response_url"):
            read(form(response_url=url))

    @pytest.mark.parametrize(
        "body",
        [
            form() + b"&command=%2Fother",
            b"&".join(b"f%d=1" % n for n in range(100)),
            b"command=%ff%fe",
            b"payload=%5B%5D",
            b"payload=",
        ],
    )
    def test_a_form_that_is_none_is_refused(self, read, body: bytes) -> None:
        with pytest.raises(BadPayload):
            read(body)


class TestAtTheDoor:
    """Commands through the whole application; the contract test does it for events."""

    @pytest_asyncio.fixture
    async def ask(self, door, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
        async with httpx.AsyncClient() as unused:
            adapter = adapter_of(SAMPLES, tmp_path, unused)
            door.connections.append(Connection(account_of(SAMPLES, tmp_path), adapter))
            door.clock = lambda: NOW
            transport = httpx.ASGITransport(door.app())
            async with httpx.AsyncClient(transport=transport, base_url="http://us") as client:

                async def send(body: bytes) -> httpx.Response:
                    headers = list(request(body, NOW).headers)
                    return await client.post("/webhooks/slack", content=body, headers=headers)

                yield send

    async def test_a_command_is_kept_once_and_its_address_is_sealed(self, door, ask) -> None:
        answers = [await ask(form()), await ask(form())]

        assert [(answer.status_code, answer.content) for answer in answers] == [(200, b"")] * 2
        (message,) = door.inbox.kept.values()
        assert message.content == "how are you?"
        assert b"hooks.slack.com" not in message.reply_to

    async def test_a_command_that_is_not_kept_says_so_as_slack_never_repeats_it(
        self, door, ask
    ) -> None:
        door.inbox.failure = Unavailable("the broker is not reachable")

        answer = await ask(form())

        assert answer.status_code == 200
        assert answer.json()["response_type"] == "ephemeral"

    async def test_an_empty_message_is_acknowledged_and_not_kept(self, door, ask) -> None:
        answer = await ask(payload(text=" "))

        assert (answer.status_code, answer.content) == (200, b"")
        assert not door.inbox.kept


@dataclass
class SlackDouble:
    """Slack's API with its rules: token, membership, length, rate, and keys against repetition."""

    token: str = BOT_TOKEN.decode()
    channels: set[str] = field(default_factory=lambda: {CHANNEL})
    errors: list[httpx.Response] = field(default_factory=list)
    responses_left: int = 5
    posted: dict[str, str] = field(default_factory=dict)
    """Texts as people read them, by `ts`."""
    responded: list[dict[str, Any]] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        self.calls.append((str(request.url), body))
        if self.errors:
            return self.errors.pop(0)
        if request.url.host == "hooks.slack.com":
            return self._respond(body)
        result = self._method(request, body)
        return httpx.Response(200, json=result)

    def _respond(self, body: dict[str, Any]) -> httpx.Response:
        if not self.responses_left:
            return httpx.Response(404, json={"ok": False, "error": "used_url"})
        self.responses_left -= 1
        self.responded.append(body)
        return httpx.Response(200, text="ok")

    def _method(self, request: httpx.Request, body: dict[str, Any]) -> dict[str, Any]:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return {"ok": False, "error": "invalid_auth"}
        if body["channel"] not in self.channels:
            return {"ok": False, "error": "not_in_channel"}
        if len(body["text"]) > 40_000:
            return {"ok": False, "error": "msg_too_long"}
        method = request.url.path.rpartition("/")[2]
        return {
            "chat.postMessage": self._post,
            "chat.postEphemeral": self._tell,
            "chat.update": self._update,
        }[method](body)

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        key = str(uuid.UUID(body["client_msg_id"]))
        ts = self.keys.setdefault(key, f"1700000000.{len(self.posted):06}")
        self.posted[ts] = html.unescape(body["text"])
        return {"ok": True, "channel": body["channel"], "ts": ts}

    def _tell(self, body: dict[str, Any]) -> dict[str, Any]:
        self.told.append(body)
        return {"ok": True, "message_ts": "1700000000.000001"}

    def _update(self, body: dict[str, Any]) -> dict[str, Any]:
        if body["ts"] not in self.posted:
            return {"ok": False, "error": "message_not_found"}
        self.posted[body["ts"]] = html.unescape(body["text"])
        return {"ok": True, "ts": body["ts"]}


def part(text: str, index: int = 0, count: int = 1) -> ReplyPart:
    reply = OutboundMessage(
        channel=Channel("slack"),
        tenant=Tenant("default"),
        conversation_id=ConversationId("conversation"),
        message_id=MessageId("message"),
        content=text,
        created_at_ms=1_700_000_000_500,
    )
    return ReplyPart(reply, text, index, count, f"thekeyofpart{index}")


@pytest.fixture
def slack() -> SlackDouble:
    return SlackDouble()


@pytest.fixture
def send(slack: SlackDouble, tmp_path: Path) -> Callable[..., Any]:
    async def sent(
        address: dict[str, Any],
        text: str = "hi",
        index: int = 0,
        count: int = 1,
        samples: Samples = SAMPLES,
    ) -> str | None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(slack)) as client:
            adapter = adapter_of(samples, tmp_path, client)
            one = part(text, index, count)
            return await adapter.send(one, address, deadline=Deadline.after(5))

    return sent


class TestReplies:
    async def test_a_reply_goes_to_the_thread_and_shows_what_was_written(self, send, slack) -> None:
        ts = await send(THREAD, "1 < 2 && <!channel> &amp;")

        ((url, body),) = slack.calls
        assert url == POST_MESSAGE
        assert (body["channel"], body["thread_ts"]) == (CHANNEL, TS)
        assert "<" not in body["text"]
        assert slack.posted[ts] == "1 < 2 && <!channel> &amp;"

    async def test_no_link_in_a_reply_is_fetched(self, send, slack) -> None:
        await send(THREAD, "https://evil.example/?secret")
        await send(ASKED, "https://evil.example/?secret")

        told = [(body["unfurl_links"], body["unfurl_media"]) for _, body in slack.calls]
        assert told == [(False, False)] * 2

    async def test_a_direct_conversation_gets_no_thread(self, send, slack) -> None:
        slack.channels.add("D1")

        await send({"channel": "D1", "thread_ts": None})

        assert "thread_ts" not in slack.calls[0][1]

    async def test_a_part_that_is_sent_twice_has_one_key_and_others_have_others(
        self, send, slack
    ) -> None:
        for index in (0, 0, 1):
            await send(THREAD, f"part {index}", index, 2)

        assert sorted(slack.posted.values()) == ["part 0", "part 1"]

    async def test_the_longest_part_is_never_cut(self, send, slack, tmp_path: Path) -> None:
        most = adapter_of(SAMPLES, tmp_path).limits.text.most

        ts = await send(THREAD, "&" * most)

        assert slack.posted[ts] == "&" * most

    async def test_an_error_in_the_body_of_a_200_says_what_to_do(self, send, slack) -> None:
        slack.channels.clear()

        with pytest.raises(Rejected, match="not_in_channel") as error:
            await send(THREAD)

        assert error.value.fix == "invite the app to the channel"

    async def test_a_revoked_token_is_refused_without_being_shown(self, send, slack) -> None:
        slack.token = "xoxb-another"

        with pytest.raises(Rejected, match="invalid_auth") as error:
            await send(THREAD)

        assert BOT_TOKEN.decode() not in str(error.value) + str(error.value.fix)

    @pytest.mark.parametrize(
        ("answer", "expected", "wait_s"),
        [
            (httpx.Response(200, json={"ok": False, "error": "ratelimited"}), Overloaded, 1),
            (
                httpx.Response(
                    429, headers={"Retry-After": "30"}, json={"ok": False, "error": "ratelimited"}
                ),
                Overloaded,
                30,
            ),
            (
                httpx.Response(
                    200, headers={"Retry-After": "9"}, json={"ok": False, "error": "rate_limited"}
                ),
                Overloaded,
                9,
            ),
            (httpx.Response(429, headers={"Retry-After": "5"}, text="x"), Overloaded, 5),
            (httpx.Response(200, json={"ok": False, "error": "fatal_error"}), Unavailable, None),
            (
                httpx.Response(200, json={"ok": False, "error": "duplicate_message_not_found"}),
                Unavailable,
                None,
            ),
            (httpx.Response(503, json={"ok": False, "error": "odd"}), Unavailable, None),
            (httpx.Response(200, text="<html>maintenance</html>"), Unavailable, None),
            (httpx.Response(200, json={"ok": "true"}), Unavailable, None),
            (httpx.Response(200, json={"ok": False, "error": "is_archived"}), Rejected, None),
            (httpx.Response(200, json={"ok": False, "error": "x\ny"}), Rejected, None),
            (httpx.Response(200, json={"ok": False}), Rejected, None),
        ],
    )
    async def test_each_failure_says_whether_to_try_again(
        self,
        send,
        slack,
        answer: httpx.Response,
        expected: type[ClawdbotError],
        wait_s: float | None,
    ) -> None:
        slack.errors.append(answer)

        with pytest.raises(expected) as error:
            await send(THREAD)

        assert error.value.retry_after_s == wait_s
        assert "\n" not in error.value.message

    async def test_a_reply_can_be_rewritten(self, send, slack, tmp_path: Path) -> None:
        ts = await send(THREAD, "thinking")

        async with httpx.AsyncClient(transport=httpx.MockTransport(slack)) as client:
            adapter: Any = adapter_of(SAMPLES, tmp_path, client)
            await adapter.edit(ts, part("a < b"), THREAD, deadline=Deadline.after(5))
            with pytest.raises(Rejected, match="message_not_found"):
                await adapter.edit("1.2", part("a"), THREAD, deadline=Deadline.after(5))

        assert slack.posted == {ts: "a < b"}


class TestCommandReplies:
    async def test_a_command_is_answered_at_its_own_address_without_our_token(
        self, slack, tmp_path: Path
    ) -> None:
        seen: list[httpx.Request] = []

        def watch(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return slack(request)

        async with httpx.AsyncClient(transport=httpx.MockTransport(watch)) as client:
            adapter = adapter_of(SAMPLES, tmp_path, client)
            await adapter.send(part("a < b"), ASKED, deadline=Deadline.after(5))

        assert [str(request.url) for request in seen] == [RESPONSE_URL]
        assert "authorization" not in seen[0].headers
        assert slack.responded[0]["response_type"] == "ephemeral"
        assert slack.responded[0]["text"] == "a &lt; b"

    async def test_after_five_answers_the_rest_is_told_to_the_sender_alone(
        self, send, slack
    ) -> None:
        for index in range(7):
            await send(ASKED, f"part {index}", index, 7)

        assert len(slack.responded) == 5
        assert [(told["user"], told["text"]) for told in slack.told] == [
            (USER, "part 5"),
            (USER, "part 6"),
        ]
        assert not slack.posted

    async def test_an_expired_address_is_replaced_by_the_channel_where_that_is_wanted(
        self, send, slack
    ) -> None:
        slack.responses_left = 0

        await send(ASKED, "late", samples=configured(command_replies="in_channel"))

        assert list(slack.posted.values()) == ["late"]

    async def test_a_busy_address_is_tried_again_and_not_given_up(self, send, slack) -> None:
        slack.errors.append(httpx.Response(429, headers={"Retry-After": "3"}))

        with pytest.raises(Overloaded):
            await send(ASKED)

        assert len(slack.calls) == 1


class TestAgainstTheOfficialLibrary:
    """slack_sdk's verifier, both ways."""

    @pytest.fixture
    def official(self):
        return pytest.importorskip("slack_sdk.signature")

    def test_we_believe_what_it_signs_and_it_believes_our_tests(
        self, official, tmp_path_factory
    ) -> None:
        adapter = adapter_of(SAMPLES, tmp_path_factory.mktemp("secrets"))
        clock = type("Frozen", (official.Clock,), {"now": lambda self: NOW})()
        verifier = official.SignatureVerifier(SIGNING_SECRET.decode(), clock)

        @given(st.text(max_size=200), st.integers(-299, 299))
        def holds(body: str, offset: int) -> None:
            stamp = str(int(NOW) + offset)
            signature = verifier.generate_signature(timestamp=stamp, body=body)
            headers = (
                (b"x-slack-request-timestamp", stamp.encode()),
                (b"x-slack-signature", signature.encode()),
            )
            adapter.verify(RawRequest("POST", "/", (), headers, body.encode()), NOW)

            ours = dict(request(body.encode(), NOW + offset).headers)
            assert verifier.is_valid(
                body,
                ours[b"x-slack-request-timestamp"].decode(),
                ours[b"x-slack-signature"].decode(),
            )

        holds()

    @pytest.mark.parametrize("offset", [-302, -301, -300, -299, 0, 299, 300, 301, 302])
    def test_it_draws_the_same_window(self, official, tmp_path: Path, offset: int) -> None:
        adapter = adapter_of(SAMPLES, tmp_path)
        clock = type("Frozen", (official.Clock,), {"now": lambda self: NOW})()
        raw = request(payload(), NOW + offset)
        headers = {name.decode(): value.decode() for name, value in raw.headers}

        theirs = official.SignatureVerifier(SIGNING_SECRET.decode(), clock).is_valid_request(
            raw.body, headers
        )

        try:
            ours = bool(adapter.verify(raw, NOW))
        except Unauthenticated:
            ours = False
        assert ours == theirs


@given(st.text())
def test_escaped_text_shows_as_it_was_and_commands_nothing(text: str) -> None:
    shown = escaped(text)

    assert not set("<>") & set(shown)
    assert shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text
