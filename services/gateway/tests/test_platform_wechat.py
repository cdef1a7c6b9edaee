from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.platforms.interface import PlatformMessage
from clawdbot.gateway.adapters.platforms.requests import RawRequest, Verified
from clawdbot.gateway.adapters.platforms.wechat import TEXT_BYTES, WeChat
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import (
    ClawdbotError,
    InvalidMessage,
    Overloaded,
    Rejected,
    Unauthenticated,
    Unavailable,
)
from clawdbot.schema.messages import Attachment
from services.gateway.tests.platforms.callbacks import asked
from services.gateway.tests.platforms.parts import part
from services.gateway.tests.platforms.samples import NOW, adapter_of
from services.gateway.tests.platforms.wechat import (
    ACCESS_TOKEN,
    APP_ID,
    APP_SECRET,
    ECHO,
    OPENID,
    SAMPLES,
    message,
    plain_signature,
    question,
    request,
)

OTHER = b"another secret of enough bytes 01"


def built(directory: Path, client: httpx.AsyncClient | None = None) -> WeChat:
    adapter = adapter_of(SAMPLES, directory, client)
    assert isinstance(adapter, WeChat)
    return adapter


@pytest.fixture
def adapter(tmp_path: Path) -> WeChat:
    return built(tmp_path)


def read(adapter: WeChat, payload: bytes) -> PlatformMessage:
    (said,) = adapter.read(adapter.verify(request(payload, NOW), NOW)).messages
    return said


class TestVerification:
    @pytest.mark.parametrize(
        "raw",
        [
            # As in plain mode, where nothing signs the body.
            asked("POST", "wechat", plain_signature(NOW), message()),
            asked("POST", "wechat", plain_signature(NOW), request(message(), NOW).body),
            # As in compatible mode, with only the plain half in the body.
            replace(request(message(), NOW), body=message()),
            request(message(), NOW, token=OTHER),
            request(message(), NOW, key=b"x" * 43),
            request(message(), NOW, receiver=b"wx0000000000000000"),
            question(NOW - 3601),
            question(NOW + 3601),
            question(NOW, "<script>alert(1)</script>"),
            question(NOW, "x" * 65),
            question(NOW, ""),
            replace(question(NOW), query=(*question(NOW).query, ("echostr", "2"))),
            asked("GET", "wechat", {**dict(question(NOW).query), "signature": "0" * 40}),
            replace(request(message(), NOW), method="GET"),
        ],
    )
    def test_what_is_not_authentic_is_refused(self, adapter: WeChat, raw: RawRequest) -> None:
        with pytest.raises(Unauthenticated):
            adapter.verify(raw, NOW)

    def test_plain_mode_is_refused_before_the_body_is_read(self, adapter: WeChat) -> None:
        with pytest.raises(Unauthenticated):
            adapter.admit(asked("POST", "wechat", plain_signature(NOW)))

    def test_compatible_mode_is_read_from_its_encrypted_half(self, adapter: WeChat) -> None:
        right = request(message(), NOW)
        both = right.body.replace(b"<xml>", b"<xml><Content>forged</Content>")

        assert adapter.verify(replace(right, body=both), NOW).payload == message()

    def test_whatever_signs_is_changed_is_refused(self, adapter: WeChat) -> None:
        @given(st.data())
        def holds(data: st.DataObject) -> None:
            right = data.draw(st.sampled_from([request(message(), NOW), question(NOW)]))
            names = ["timestamp", "nonce"]
            names.append("signature" if right.method == "GET" else "msg_signature")
            name = data.draw(st.sampled_from(names))
            value = dict(right.query)[name]
            other = data.draw(st.text(max_size=70).filter(lambda text: text != value))
            query = tuple({**dict(right.query), name: other}.items())
            with pytest.raises(Unauthenticated):
                adapter.verify(replace(right, query=query), NOW)

        holds()


class TestReading:
    def test_the_question_is_answered_with_its_own_word(self, adapter: WeChat) -> None:
        received = adapter.read(adapter.verify(question(NOW), NOW))

        assert (received.messages, received.answer.body) == ((), ECHO.encode())
        assert received.answer.content_type.startswith("text/plain")

    def test_a_message_carries_its_ids_and_time(self, adapter: WeChat) -> None:
        said = read(adapter, message())

        assert (said.event_id, said.place) == ("22876340532172986", (OPENID,))
        assert (said.timestamp, said.in_group) == (1_699_999_990, False)
        assert (said.address, said.holds_token) == ({"user": OPENID}, False)

    def test_files_are_named_after_this_platform(self, adapter: WeChat) -> None:
        said = read(adapter, message(MsgType="shortvideo", MediaId="m", Content=...))

        assert [(file.type, file.url) for file in said.attachments] == [("video", "wechat:m")]

    @pytest.mark.parametrize(
        "payload",
        [
            message(FromUserName=""),
            message(FromUserName="a b"),
            message(MsgId=...),
            message(CreateTime="soon"),
            message(MsgType="voice", MediaId=""),
            b'<!DOCTYPE xml [<!ENTITY a "b">]>' + message(),
        ],
    )
    def test_a_wrong_field_is_told_from_a_forgery(self, adapter: WeChat, payload: bytes) -> None:
        verified = adapter.verify(request(payload, NOW), NOW)

        with pytest.raises((InvalidMessage, BadPayload)):
            adapter.read(verified)

    def test_any_bytes_are_read_or_refused(self, adapter: WeChat) -> None:
        @given(st.binary(max_size=60), st.integers(0, len(message())))
        def holds(noise: bytes, at: int) -> None:
            payload = message()[:at] + noise + message()[at:]
            try:
                adapter.read(Verified(request(b"", NOW), payload))
            except (BadPayload, InvalidMessage):
                return

        holds()


@dataclass
class Double:
    """WeChat's API as it is documented, limits and all."""

    calls: list[httpx.Request] = field(default_factory=list)
    tokens: int = 0
    errcodes: list[int] = field(default_factory=list)
    """Codes of the next calls; then all is well."""

    def __call__(self, call: httpx.Request) -> httpx.Response:
        self.calls.append(call)
        said = json.loads(call.content)
        if call.url.path == "/cgi-bin/stable_token":
            return self._token(said)
        if call.url.params["access_token"] != f"{ACCESS_TOKEN}-{self.tokens}":
            return httpx.Response(200, json={"errcode": 40001, "errmsg": "not latest"})
        if self.errcodes:
            code = self.errcodes.pop(0)
            return httpx.Response(200, json={"errcode": code, "errmsg": "told"})
        assert said["touser"] == OPENID
        if len(said.get("text", {}).get("content", "").encode()) > 2047:
            return httpx.Response(200, json={"errcode": 45002, "errmsg": "content size"})
        return httpx.Response(200, json={"errcode": 0, "errmsg": "ok"})

    def _token(self, said: dict[str, str]) -> httpx.Response:
        assert said == {
            "grant_type": "client_credential",
            "appid": APP_ID,
            "secret": APP_SECRET.decode(),
        }
        self.tokens += 1
        told = {"access_token": f"{ACCESS_TOKEN}-{self.tokens}", "expires_in": 7200}
        return httpx.Response(200, json=told)

    def said(self) -> list[tuple[str, object]]:
        return [(call.url.path, json.loads(call.content)) for call in self.calls[1:]]


class TestSending:
    @pytest.fixture
    def double(self) -> Double:
        return Double()

    @pytest.fixture
    def sender(self, double: Double, tmp_path: Path) -> WeChat:
        return built(tmp_path, httpx.AsyncClient(transport=httpx.MockTransport(double)))

    async def sent(self, sender: WeChat, text: str = "hi") -> None:
        sent_id = await sender.send(part(text), {"user": OPENID}, deadline=Deadline.after(5))
        assert sent_id is None

    async def test_a_reply_is_a_customer_service_message(
        self, double: Double, sender: WeChat
    ) -> None:
        await asyncio.gather(self.sent(sender), self.sent(sender))

        said = {"touser": OPENID, "msgtype": "text", "text": {"content": "hi"}}
        assert double.said() == [("/cgi-bin/message/custom/send", said)] * 2

    async def test_the_longest_part_is_taken(self, double: Double, sender: WeChat) -> None:
        await self.sent(sender, "你" * (TEXT_BYTES // 3))

        assert len(double.said()) == 1

    async def test_typing_that_shows_already_is_no_error(
        self, double: Double, sender: WeChat
    ) -> None:
        double.errcodes = [45081]

        await sender.show_typing({"user": OPENID}, deadline=Deadline.after(5))

        said = {"touser": OPENID, "command": "Typing"}
        assert double.said() == [("/cgi-bin/message/custom/typing", said)]

    async def test_a_token_that_is_refused_is_replaced_once(
        self, double: Double, sender: WeChat
    ) -> None:
        double.errcodes = [40001]

        await self.sent(sender)
        assert double.tokens == 2

        double.errcodes = [42001, 42001]
        with pytest.raises(Unavailable):
            await self.sent(sender)

    @pytest.mark.parametrize(
        ("code", "expected", "wait_s"),
        [
            (45009, Overloaded, 3600),
            (45011, Overloaded, 60),
            (-1, Unavailable, None),
            (40164, Unavailable, None),
            (45015, Rejected, None),
            (45047, Rejected, None),
            (48001, Rejected, None),
        ],
    )
    async def test_an_error_in_a_200_says_whether_to_try_again(
        self,
        double: Double,
        sender: WeChat,
        code: int,
        expected: type[ClawdbotError],
        wait_s: float | None,
    ) -> None:
        double.errcodes = [code]

        with pytest.raises(expected) as error:
            await self.sent(sender)

        assert (type(error.value), error.value.retry_after_s) == (expected, wait_s)

    async def test_a_file_is_fetched_with_a_token_unless_it_has_an_address(
        self, double: Double, sender: WeChat
    ) -> None:
        shown = Attachment(type="image", url="http://mmbiz.example/1")
        named = Attachment(type="audio", url="wechat:m")

        public = await sender.locate(shown, {}, deadline=Deadline.after(5))
        assert (public.url, double.calls) == ("http://mmbiz.example/1", [])

        kept = await sender.locate(named, {}, deadline=Deadline.after(5))
        assert kept.url.startswith("https://api.weixin.qq.com/cgi-bin/media/get?access_token=")
        assert ACCESS_TOKEN not in repr(kept)


class TestAgainstTheSDK:
    """wechatpy reads what we read."""

    def test_a_message(self, adapter: WeChat) -> None:
        crypto = pytest.importorskip("wechatpy.crypto")
        parse = pytest.importorskip("wechatpy").parse_message
        raw, (token, key) = request(message(), NOW), list(SAMPLES.secrets.values())[:2]
        query = dict(raw.query)

        theirs = parse(
            crypto.WeChatCrypto(token.decode(), key.decode(), APP_ID).decrypt_message(
                raw.body, query["msg_signature"], query["timestamp"], query["nonce"]
            )
        )

        ours = read(adapter, message())
        assert (str(theirs.id), theirs.source, theirs.content) == (
            ours.event_id,
            ours.sender_id,
            ours.content,
        )

    def test_the_question(self) -> None:
        utils = pytest.importorskip("wechatpy.utils")
        query = dict(question(NOW).query)

        utils.check_signature(
            SAMPLES.secrets["token"].decode(),
            query["signature"],
            query["timestamp"],
            query["nonce"],
        )
