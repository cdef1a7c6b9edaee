from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.platforms.feishu import TEXT_BYTES, Feishu
from clawdbot.gateway.adapters.platforms.feishu_api import FeishuAPI
from clawdbot.gateway.adapters.platforms.feishu_envelope import decrypted
from clawdbot.gateway.adapters.platforms.interface import PlatformMessage
from clawdbot.gateway.adapters.platforms.requests import RawRequest, Verified
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.domain.messages import ReplyPart
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
from clawdbot.schema.messages import MAX_ATTACHMENTS, OutboundMessage
from services.gateway.tests.platforms.feishu import (
    APP_SECRET,
    CHAT_ID,
    ENCRYPT_KEY,
    MESSAGE_ID,
    NONCE,
    SAMPLES,
    TOKEN,
    challenge,
    encrypted,
    event,
    request,
    signed,
    unsigned,
)
from services.gateway.tests.platforms.samples import NOW, Samples, adapter_of

OTHER = b"another key or token 0123456789"
PLAIN = replace(SAMPLES, secrets={"verification_token": TOKEN, "app_secret": APP_SECRET})
PUBLISHED = "P37w+VZImNgPEO1RBhJ6RtKl7n6zymIbEG1pReEzghk="
REPLY_PATH = f"/open-apis/im/v1/messages/{MESSAGE_ID}/reply"
MOST_BYTES = 150_000


def built(samples: Samples, directory: Path) -> Feishu:
    adapter = adapter_of(samples, directory)
    assert isinstance(adapter, Feishu)
    return adapter


@pytest.fixture
def adapter(tmp_path: Path) -> Feishu:
    return built(SAMPLES, tmp_path)


@pytest.fixture
def plain(tmp_path: Path) -> Feishu:
    return built(PLAIN, tmp_path)


def read(adapter: Feishu, payload: bytes) -> PlatformMessage:
    (message,) = adapter.read(adapter.verify(request(payload, NOW), NOW)).messages
    return message


class TestDecryption:
    def test_the_published_vector_is_read(self) -> None:
        assert decrypted(b"test key", PUBLISHED) == b"hello world"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "====",
            "\u4f60",
            "AAAA",
            PUBLISHED[:-4],
            PUBLISHED[:-5] + "A=",
            "AAAAAAAAAAAAAAAAAAAAAA==",
        ],
    )
    def test_all_that_is_wrong_is_refused_in_the_same_words(self, text: str) -> None:
        with pytest.raises(Unauthenticated) as error:
            decrypted(b"test key", text)

        assert error.value.message == "the request is not signed by anybody we know"
        assert error.value.__cause__ is None

    def test_padding_is_looked_at_as_a_whole(self) -> None:
        for last in (b"\x00", b"\x11", b"\x01\x02", b"\x03\x02\x03"):
            text = json.loads(_unpadded(b"0123456789abcdef"[: 16 - len(last)] + last))["encrypt"]

            with pytest.raises(Unauthenticated):
                decrypted(ENCRYPT_KEY, text)


def _unpadded(block: bytes) -> bytes:
    """Return a body whose plaintext is exactly `block`, with no padding of its own."""
    body = json.loads(encrypted(block))["encrypt"]

    return json.dumps({"encrypt": base64.b64encode(base64.b64decode(body)[:32]).decode()}).encode()


class TestVerification:
    def test_any_of_our_encrypt_keys_will_do(self, tmp_path: Path) -> None:
        both = {**SAMPLES.secrets, "encrypt_key": OTHER + b"\n" + ENCRYPT_KEY}
        adapter = built(replace(SAMPLES, secrets=both), tmp_path)

        for key in (OTHER, ENCRYPT_KEY):
            raw = signed(encrypted(event(), key), NOW, key)

            assert adapter.verify(raw, NOW).payload == event()

    def test_what_one_key_signed_is_not_read_with_another(self, adapter: Feishu) -> None:
        raw = signed(encrypted(event(), OTHER), NOW)

        with pytest.raises(Unauthenticated):
            adapter.verify(raw, NOW)

    @pytest.mark.parametrize("stamp", [b"+700000000", b"170000000", b"17000000003", b" 1700000000"])
    def test_a_time_that_is_not_ten_digits_is_refused(self, adapter: Feishu, stamp: bytes) -> None:
        body = encrypted(event())
        raw = RawRequest("POST", "/", headers=_headers(stamp, NONCE, body), body=body)

        with pytest.raises(Unauthenticated):
            adapter.verify(raw, NOW)

    def test_digits_cannot_move_between_time_and_nonce(self, adapter: Feishu) -> None:
        body = encrypted(event())
        signature = _headers(b"1700000000", b"1234", body)[2]
        moved = (
            (b"x-lark-request-timestamp", b"17000000001"),
            (b"x-lark-request-nonce", b"234"),
            signature,
        )

        with pytest.raises(Unauthenticated):
            adapter.verify(RawRequest("POST", "/", headers=moved, body=body), NOW)

    def test_bytes_after_the_object_are_refused_even_when_signed(self, adapter: Feishu) -> None:
        extended = encrypted(event()) + b"\x80\x00\x00 and more"

        with pytest.raises(Unauthenticated):
            adapter.verify(signed(extended, NOW), NOW)

    @pytest.mark.parametrize("body", [event(), encrypted(event())])
    def test_an_unsigned_event_is_refused_whatever_its_token(
        self, adapter: Feishu, body: bytes
    ) -> None:
        with pytest.raises(Unauthenticated):
            adapter.verify(unsigned(body), NOW)

    @pytest.mark.parametrize(
        "raw",
        [
            unsigned(challenge("wrong")),
            unsigned(challenge("")),
            unsigned(encrypted(challenge("wrong"))),
            unsigned(encrypted(challenge(), OTHER)),
            request(challenge("wrong"), NOW),
            unsigned(challenge().replace(b'"' + TOKEN + b'"', b"null")),
            unsigned(challenge().replace(TOKEN, b"\\ud800")),
        ],
    )
    def test_a_challenge_without_our_token_is_refused(
        self, adapter: Feishu, raw: RawRequest
    ) -> None:
        with pytest.raises(Unauthenticated):
            adapter.verify(raw, NOW)

    def test_whatever_is_changed_is_refused(self, adapter: Feishu) -> None:
        right = request(event(), NOW)

        @given(st.data())
        def holds(data: st.DataObject) -> None:
            at = data.draw(st.integers(0, len(right.body) - 1))
            byte = data.draw(st.integers(0, 255).filter(lambda value: value != right.body[at]))
            body = right.body[:at] + bytes([byte]) + right.body[at + 1 :]
            with pytest.raises(Unauthenticated):
                adapter.verify(replace(right, body=body), NOW)

            name, value = right.headers[data.draw(st.integers(0, 2))]
            other = data.draw(st.binary(min_size=1, max_size=70).filter(lambda text: text != value))
            rest = tuple(pair for pair in right.headers if pair[0] != name)
            with pytest.raises(Unauthenticated):
                adapter.verify(replace(right, headers=(*rest, (name, other))), NOW)

        holds()


def _headers(stamp: bytes, nonce: bytes, body: bytes) -> tuple[tuple[bytes, bytes], ...]:
    signature = hashlib.sha256(stamp + nonce + ENCRYPT_KEY + body).hexdigest().encode()
    return (
        (b"x-lark-request-timestamp", stamp),
        (b"x-lark-request-nonce", nonce),
        (b"x-lark-signature", signature),
    )


class TestWithoutAnEncryptKey:
    def test_events_and_challenges_are_believed_for_their_token(self, plain: Feishu) -> None:
        for payload in (event(), challenge()):
            plain.admit(unsigned(b""))

            assert plain.verify(unsigned(payload), NOW).payload == payload

    def test_any_of_our_tokens_will_do(self, tmp_path: Path) -> None:
        both = {**PLAIN.secrets, "verification_token": OTHER + b"\n" + TOKEN}
        plain = built(replace(PLAIN, secrets=both), tmp_path)

        for token in (OTHER, TOKEN):
            plain.verify(unsigned(event(token=token.decode())), NOW)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{}",
            b"not json",
            event(token="wrong"),
            event(token=7),
            event(token=None),
            encrypted(event()),
            json.dumps({"token": TOKEN.decode(), "header": {}}).encode(),
        ],
    )
    def test_others_are_refused(self, plain: Feishu, body: bytes) -> None:
        with pytest.raises(Unauthenticated):
            plain.verify(unsigned(body), NOW)


class TestReading:
    def test_a_message_carries_its_ids_and_time(self, adapter: Feishu) -> None:
        message = read(adapter, event(root_id="om_root", parent_id="om_parent"))

        assert (message.event_id, message.place) == (MESSAGE_ID, (CHAT_ID, ""))
        assert (message.timestamp, message.thread_id) == (1_700_000_000, "om_root")
        assert message.address == {"message_id": MESSAGE_ID}
        assert not message.holds_token

    def test_a_topic_is_a_conversation_of_its_own(self, adapter: Feishu) -> None:
        message = read(adapter, event(root_id="om_root", thread_id="omt_1"))

        assert (message.place, message.thread_id) == ((CHAT_ID, "omt_1"), "omt_1")

    def test_empty_ids_are_no_ids(self, adapter: Feishu) -> None:
        assert read(adapter, event(root_id="", thread_id="")).thread_id is None

    def test_mentions_become_names_in_one_pass(self, adapter: Feishu) -> None:
        mentions = [
            {"key": "@_user_1", "id": {"open_id": "ou_1"}, "name": "@_user_10"},
            {"key": "@_user_10", "id": {"open_id": "ou_2"}, "name": "\u8d75"},
            {"key": "@_user_3", "id": {"open_id": "ou_3"}, "name": None},
        ]
        text = {"text": "@_user_1 @_user_10 @_user_3 @_all hi"}

        message = read(adapter, event(text, mentions=mentions))

        assert message.content == "@@_user_10 @\u8d75 @_user_3 @all hi"

    def test_rich_text_becomes_lines(self, adapter: Feishu) -> None:
        rows = [
            [
                {"tag": "text", "text": "see ", "style": ["bold"]},
                {"tag": "a", "text": "this", "href": "https://a.example"},
                {"tag": "a", "text": "https://b.example", "href": "https://b.example"},
                {"tag": "at", "user_id": "@_user_1", "user_name": ""},
                {"tag": "emotion", "emoji_type": "SMILE"},
            ],
            [{"tag": "img", "image_key": "img_1"}],
            [{"tag": "hr"}],
            [{"tag": "code_block", "language": "PYTHON", "text": "x = 1"}],
            [{"tag": "media", "file_key": "file_1", "image_key": "img_2"}, 7],
            "no row",
        ]
        mentions = [{"key": "@_user_1", "name": "Tom"}]

        message = read(adapter, event({"title": "T", "content": rows}, "post", mentions=mentions))

        assert message.content == (
            "T\nsee [this](https://a.example)https://b.example@Tom:SMILE:\n\n---\n"
            "```python\nx = 1\n```"
        )
        assert [(file.type, file.url) for file in message.attachments] == [
            ("image", "feishu:img_1"),
            ("video", "feishu:file_1"),
        ]

    def test_more_pictures_than_a_message_may_have_do_not_lose_its_text(
        self, adapter: Feishu
    ) -> None:
        rows = [[{"tag": "img", "image_key": f"img_{number}"}] for number in range(40)]
        rows.append([{"tag": "text", "text": "all of them"}])

        message = read(adapter, event({"title": "", "content": rows}, "post"))

        assert message.content == "all of them"
        assert len(message.attachments) == MAX_ATTACHMENTS

    @pytest.mark.parametrize(
        ("kind", "content", "expected"),
        [
            ("image", {"image_key": "img_1"}, ("image", "feishu:img_1", None)),
            ("file", {"file_key": "f", "file_name": "a.txt"}, ("file", "feishu:f", "a.txt")),
            ("audio", {"file_key": "f", "duration": 2000}, ("audio", "feishu:f", None)),
            ("media", {"file_key": "f", "image_key": "i"}, ("video", "feishu:f", None)),
        ],
    )
    def test_files_are_attachments(
        self, adapter: Feishu, kind: str, content: object, expected: tuple[str, str, str | None]
    ) -> None:
        message = read(adapter, event(content, kind))

        (file,) = message.attachments
        assert (file.type, file.url, file.name) == expected
        assert message.content == ""

    @pytest.mark.parametrize(
        "payload",
        [
            event(message_id="../../evil"),
            event(message_id="om_ space"),
            event(message_id=7),
            event(create_time="17000000000000"),
            event(create_time="\uff11" * 13),
            event(chat_id=""),
            event({"text": 7}),
            event({"image_key": "x" * 300}, "image"),
            event({"content": [[{"tag": "img", "image_key": None}]]}, "post"),
            event(mentions=7),
            event(content=["no object"]),
            event().replace(b'"open_id"', b'"other_id"'),
            challenge().replace(b"ajls384kdjx98XX", b"\\ud800"),
        ],
    )
    def test_a_wrong_field_is_told_from_a_forgery(self, adapter: Feishu, payload: bytes) -> None:
        verified = adapter.verify(request(payload, NOW), NOW)

        with pytest.raises((InvalidMessage, BadPayload)):
            adapter.read(verified)

    def test_any_object_is_read_or_refused(self, adapter: Feishu) -> None:
        scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
        texts = st.text(st.characters(exclude_categories=()))
        values = st.recursive(
            scalars | texts,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_FIELDS, inner, max_size=6),
            max_leaves=12,
        )
        kinds = st.sampled_from(["text", "post", "image", "file", "audio", "media", "sticker"])
        messages = st.builds(
            lambda kind, content, changes: json.loads(event(content, kind, **changes)),
            kinds,
            values,
            st.dictionaries(
                st.sampled_from(["message_id", "mentions", "root_id", "create_time", "chat_id"]),
                values,
                max_size=2,
            ),
        )

        @given(st.dictionaries(_FIELDS, values, max_size=6) | messages)
        def holds(fields: dict[str, object]) -> None:
            payload = json.dumps(fields).encode()
            try:
                adapter.read(Verified(unsigned(payload), payload))
            except (BadPayload, InvalidMessage):
                return

        holds()


_FIELDS = st.sampled_from(
    [
        *("schema", "header", "event_type", "event", "sender", "sender_type", "sender_id"),
        *("message", "content", "mentions", "key", "name", "tag", "text", "title", "type"),
        *("challenge", "image_key", "file_key", "file_name"),
    ]
)


@dataclass
class Double:
    """Feishu's API with its limits, as documented."""

    lasts_s: int = 7200
    now: float = 0.0
    failures: list[httpx.Response] = field(default_factory=list)
    """Given out first by the message calls."""
    secret: str = APP_SECRET.decode()
    fetched: int = 0
    valid: set[str] = field(default_factory=set)
    sent: dict[str, str] = field(default_factory=dict)
    """Texts by uuid."""
    calls: list[httpx.Request] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    async def __call__(self, called: httpx.Request) -> httpx.Response:
        self.calls.append(called)
        # Others get their turn, as on a network.
        await asyncio.sleep(0)
        if called.url.path == "/open-apis/auth/v3/tenant_access_token/internal":
            return self._token(json.loads(called.content))
        if self.failures:
            return self.failures.pop(0)
        return self._message(called)

    def _token(self, told: dict[str, str]) -> httpx.Response:
        if told != {"app_id": "cli_1", "app_secret": self.secret}:
            return httpx.Response(200, json={"code": 10014, "msg": "app secret invalid"})
        self.fetched += 1
        token = f"t-{self.fetched}"
        self.valid.add(token)
        answer = {"code": 0, "msg": "ok", "tenant_access_token": token, "expire": self.lasts_s}
        return httpx.Response(200, json=answer)

    def _message(self, called: httpx.Request) -> httpx.Response:
        if called.headers["authorization"].removeprefix("Bearer ") not in self.valid:
            return failed(99991663)
        body = json.loads(called.content)
        if len(called.content) > MOST_BYTES:
            return failed(230025)
        text = json.loads(body["content"])["text"]
        if body["msg_type"] != "text" or not text or len(body.get("uuid", "")) > 50:
            return failed(230001)
        if called.method == "POST":
            self.sent.setdefault(body["uuid"], text)
        return httpx.Response(200, json={"code": 0, "data": {"message_id": "om_sent"}})


def failed(code: int, status: int = 400, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers, json={"code": code, "msg": "no"})


def part(text: str = "hi", key: str = "abcdefghijklmnopqrstuvwxyz") -> ReplyPart:
    message = OutboundMessage(
        channel=Channel("feishu"),
        tenant=Tenant("default"),
        conversation_id=ConversationId("conversation"),
        message_id=MessageId("message"),
        content=text,
        created_at_ms=1_700_000_000_500,
    )
    return ReplyPart(message, text, 0, 1, key)


Send = Callable[..., Awaitable[str | None]]


@pytest.fixture
def double() -> Double:
    return Double()


@pytest.fixture
def send(double: Double, tmp_path: Path) -> Send:
    client = httpx.AsyncClient(transport=httpx.MockTransport(double))
    adapter = adapter_of(SAMPLES, tmp_path, client)

    async def run(*args: str) -> str | None:
        address = {"message_id": MESSAGE_ID}
        return await adapter.send(part(*args), address, deadline=Deadline.after(5))

    return run


class TestSending:
    async def test_a_reply_is_text_under_its_key(self, send: Send, double: Double) -> None:
        assert await send('\u4f60\u597d\n"there"') == "om_sent"

        assert double.sent == {"abcdefghijklmnopqrstuvwxyz": '\u4f60\u597d\n"there"'}
        assert [str(call.url) for call in double.calls] == [
            "https://open.feishu.cn/open-apis/auth/v3/tenant_access_token/internal",
            f"https://open.feishu.cn{REPLY_PATH}",
        ]

    async def test_the_longest_part_passes_whatever_is_in_it(
        self, send: Send, double: Double
    ) -> None:
        for number, unit in enumerate(("\x01", '"', "\\", "\n", "<at", "\u4f60", "\U0001f600")):
            text = unit * (TEXT_BYTES // len(unit.encode()))

            await send(text, f"key{number}")

        assert len(double.sent) == 7

    @pytest.mark.parametrize("text", ['<at user_id="all">x</at>', "< AT x", "</at>", "<\nat>"])
    async def test_a_reply_cannot_call_everybody(
        self, send: Send, double: Double, text: str
    ) -> None:
        await send(text)

        (shown,) = double.sent.values()
        assert shown.replace("\u2060", "") == text
        assert "<\u2060" in shown

    async def test_a_repeat_goes_under_the_same_key(self, send: Send, double: Double) -> None:
        await send("once")
        await send("once")

        assert len(double.sent) == 1

    async def test_the_token_is_fetched_once_however_many_send(
        self, send: Send, double: Double
    ) -> None:
        await asyncio.gather(*(send("x", f"key{number}") for number in range(5)))

        assert (double.fetched, len(double.sent)) == (1, 5)

    async def test_a_revoked_token_is_replaced_once_for_all(
        self, send: Send, double: Double
    ) -> None:
        await send("before", "key0")
        double.valid.clear()

        await asyncio.gather(*(send("x", f"key{number}") for number in range(1, 4)))

        assert (double.fetched, len(double.sent)) == (2, 4)

    @pytest.mark.parametrize("code", [99991661, 99991663, 99991671])
    async def test_a_fresh_token_that_is_refused_too_is_tried_later(
        self, send: Send, double: Double, code: int
    ) -> None:
        double.failures = [failed(code), failed(code, 401)]

        with pytest.raises(Unavailable):
            await send()

        assert double.fetched == 2

    async def test_a_token_is_replaced_ten_minutes_early(self, double: Double) -> None:
        client = httpx.AsyncClient(transport=httpx.MockTransport(double))
        secret = APP_SECRET.decode()
        api = FeishuAPI(client, "feishu", "https://f.example", ("cli_1", secret), double.clock)
        body = {"msg_type": "text", "content": '{"text": "x"}', "uuid": "u"}
        fetched = []

        for at in (0.0, 6599.0, 6600.0, 6601.0):
            double.now = at
            await api.call("POST", REPLY_PATH, body, deadline=Deadline.after(5))
            fetched.append(double.fetched)

        assert fetched == [1, 1, 2, 2]

    @pytest.mark.parametrize(
        ("failure", "expected", "wait_s"),
        [
            (failed(99991400, 429, **{"x-ogw-ratelimit-reset": "52"}), Overloaded, 52.0),
            (failed(99991400, 400, **{"x-ogw-ratelimit-reset": "3"}), Overloaded, 3.0),
            (failed(99991400, 200), Overloaded, 1.0),
            (failed(99991400, 429, **{"x-ogw-ratelimit-reset": "9" * 9}), Overloaded, 3600.0),
            (failed(99991400, 429, **{"x-ogw-ratelimit-reset": "nan"}), Overloaded, 1.0),
            (failed(230020), Overloaded, 1.0),
            (failed(11232), Overloaded, 1.0),
            (failed(230049), Unavailable, None),
            (failed(1500, 500), Unavailable, None),
            (failed(230002), Rejected, None),
            (failed(230002, 200), Rejected, None),
            (failed(230011), Rejected, None),
            (failed(230013), Rejected, None),
            (failed(99991672), Rejected, None),
            (httpx.Response(200, text="<html>"), Unavailable, None),
            (httpx.Response(200, json={"code": []}), Unavailable, None),
            (httpx.Response(200, json={"code": True}), Unavailable, None),
        ],
    )
    async def test_codes_in_the_body_are_errors_under_any_status(
        self,
        send: Send,
        double: Double,
        failure: httpx.Response,
        expected: type[ClawdbotError],
        wait_s: float | None,
    ) -> None:
        double.failures = [failure]

        with pytest.raises(expected) as error:
            await send()

        assert error.value.retry_after_s == wait_s
        assert not double.sent

    async def test_a_secret_that_is_not_the_apps_is_refused_for_good(
        self, send: Send, double: Double
    ) -> None:
        double.secret = "another"

        with pytest.raises(Rejected, match="10014"):
            await send()

    @pytest.mark.parametrize("token", [None, "", 7, "t-\u4f60", "t-1\r\nX: y"])
    async def test_no_token_in_the_answer_is_tried_later(
        self, tmp_path: Path, token: object
    ) -> None:
        answer = {"code": 0, "tenant_access_token": token, "expire": 7200}
        play = httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
        adapter = adapter_of(SAMPLES, tmp_path, httpx.AsyncClient(transport=play))

        with pytest.raises(Unavailable):
            await adapter.send(part(), {"message_id": MESSAGE_ID}, deadline=Deadline.after(5))

    async def test_what_was_sent_can_be_edited(self, double: Double, tmp_path: Path) -> None:
        client = httpx.AsyncClient(transport=httpx.MockTransport(double))
        adapter = adapter_of(SAMPLES, tmp_path, client)
        assert isinstance(adapter, Feishu)

        await adapter.edit("om_sent", part("better"), {}, deadline=Deadline.after(5))

        call = double.calls[-1]
        assert (call.method, call.url.path) == ("PUT", "/open-apis/im/v1/messages/om_sent")
        assert json.loads(json.loads(call.content)["content"]) == {"text": "better"}

    async def test_lark_is_another_address(self, double: Double, tmp_path: Path) -> None:
        lark = {"app_id": "cli_1", "api_base": "https://open.larksuite.com"}
        client = httpx.AsyncClient(transport=httpx.MockTransport(double))
        adapter = adapter_of(replace(SAMPLES, settings=lark), tmp_path, client)

        await adapter.send(part(), {"message_id": MESSAGE_ID}, deadline=Deadline.after(5))

        assert {call.url.host for call in double.calls} == {"open.larksuite.com"}


class TestAgainstTheOfficialSDK:
    """larksuite's `lark-oapi`, both ways."""

    @pytest.fixture
    def sdk(self):
        return pytest.importorskip("lark_oapi")

    def handled(self, sdk, raw: RawRequest) -> tuple[int, bytes, list[object]]:
        got: list[object] = []
        model = pytest.importorskip("lark_oapi.core.model")
        builder = sdk.EventDispatcherHandler.builder(ENCRYPT_KEY.decode(), TOKEN.decode())
        handler = builder.register_p2_im_message_receive_v1(got.append).build()
        asked = model.RawRequest()
        asked.uri, asked.body = "/", raw.body
        names = ("X-Lark-Request-Timestamp", "X-Lark-Request-Nonce", "X-Lark-Signature")
        values = [value.decode() for _, value in raw.headers]
        asked.headers = dict(zip(names, values, strict=False))
        answer = handler.do(asked)
        return answer.status_code, answer.content, got

    def test_it_reads_what_we_read(self, sdk, adapter: Feishu) -> None:
        raw = request(event(), NOW)

        status, content, got = self.handled(sdk, raw)

        assert (status, json.loads(content)) == (200, {"msg": "success"})
        assert adapter.read(adapter.verify(raw, NOW)).answer.body == content.replace(b":", b": ")
        assert [item.event.message.message_id for item in got] == [MESSAGE_ID]

    def test_it_refuses_what_we_refuse(self, sdk, adapter: Feishu) -> None:
        for raw in (
            signed(encrypted(event()), NOW, OTHER),
            signed(encrypted(event(), OTHER), NOW),
            unsigned(encrypted(challenge("wrong"))),
        ):
            status, _, got = self.handled(sdk, raw)

            assert (status, got) == (500, [])
            with pytest.raises(Unauthenticated):
                adapter.verify(raw, NOW)

    def test_it_answers_the_challenge_as_we_do(self, sdk, adapter: Feishu) -> None:
        raw = unsigned(encrypted(challenge()))

        status, content, _ = self.handled(sdk, raw)

        ours = adapter.read(adapter.verify(raw, NOW)).answer
        assert (status, json.loads(content)) == (ours.status, json.loads(ours.body))

    @pytest.mark.parametrize("length", [*range(34), 1000])
    def test_it_decrypts_what_we_decrypt(self, sdk, length: int) -> None:
        cipher = pytest.importorskip("lark_oapi.core.utils.decryptor").AESCipher(ENCRYPT_KEY)
        payload = bytes(range(256)) * 4
        text = json.loads(encrypted(payload[:length]))["encrypt"]

        assert decrypted(ENCRYPT_KEY, text) == payload[:length]
        assert cipher.decrypt(base64.b64decode(text)) == payload[:length]
