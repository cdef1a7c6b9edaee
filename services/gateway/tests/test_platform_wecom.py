from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.platforms.interface import PlatformMessage
from clawdbot.gateway.adapters.platforms.requests import RawRequest, Verified
from clawdbot.gateway.adapters.platforms.wecom import TEXT_BYTES, WeCom
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.domain.deliveries import AnswerLost
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
from clawdbot.schema.messages import Attachment
from services.gateway.tests.platforms.callbacks import signed
from services.gateway.tests.platforms.parts import part
from services.gateway.tests.platforms.samples import NOW, Samples, adapter_of
from services.gateway.tests.platforms.wecom import (
    ACCESS_TOKEN,
    AGENT_ID,
    CORP_ID,
    CORP_SECRET,
    ECHO,
    SAMPLES,
    USER,
    event,
    message,
    question,
    request,
)

OTHER = b"another secret of enough bytes 01"


def built(samples: Samples, directory: Path, client: httpx.AsyncClient | None = None) -> WeCom:
    adapter = adapter_of(samples, directory, client)
    assert isinstance(adapter, WeCom)
    return adapter


@pytest.fixture
def adapter(tmp_path: Path) -> WeCom:
    return built(SAMPLES, tmp_path)


def read(adapter: WeCom, payload: bytes) -> PlatformMessage:
    (said,) = adapter.read(adapter.verify(request(payload, NOW), NOW)).messages
    return said


class TestVerification:
    @pytest.mark.parametrize(
        "raw",
        [
            request(message(), NOW, token=OTHER),
            request(message(), NOW, key=b"x" * 43),
            request(message(), NOW, receiver=b"ww0000000000000000"),
            replace(request(message(), NOW), body=message()),
            replace(request(message(), NOW), body=b"<!DOCTYPE x>" + request(message(), NOW).body),
            question(message(), NOW),
            question(b"", NOW),
            question(b"x" * 65, NOW),
            question("你".encode(), NOW),
        ],
    )
    def test_what_is_not_authentic_is_refused(self, adapter: WeCom, raw: RawRequest) -> None:
        with pytest.raises(Unauthenticated):
            adapter.verify(raw, NOW)

    def test_a_message_that_was_seen_on_its_way_is_not_read_out_by_get(
        self, adapter: WeCom
    ) -> None:
        seen = request(message(), NOW)
        text = seen.body.decode().partition("<Encrypt><![CDATA[")[2].partition("]")[0]

        with pytest.raises(Unauthenticated):
            adapter.verify(signed("GET", "wecom", text, NOW, echostr=text), NOW)

    @pytest.mark.parametrize("stamp", ["+700000000", "170000000", "1700000000000", " 1700000000"])
    def test_a_time_that_is_not_ten_digits_is_refused(self, adapter: WeCom, stamp: str) -> None:
        right = request(message(), NOW)
        query = tuple({**dict(right.query), "timestamp": stamp}.items())

        with pytest.raises(Unauthenticated):
            adapter.verify(replace(right, query=query), NOW)

    def test_whatever_is_changed_says_the_same_or_is_refused(self, adapter: WeCom) -> None:
        right = request(message(), NOW)

        @given(st.data())
        def holds(data: st.DataObject) -> None:
            at = data.draw(st.integers(0, len(right.body) - 1))
            byte = data.draw(st.integers(0, 255))
            body = right.body[:at] + bytes([byte]) + right.body[at + 1 :]
            # What stands around the encrypted text is not signed, and not used either.
            with suppress(Unauthenticated):
                assert adapter.verify(replace(right, body=body), NOW).payload == message()

            name, value = right.query[data.draw(st.integers(0, 2))]
            other = data.draw(st.text(max_size=70).filter(lambda text: text != value))
            query = tuple({**dict(right.query), name: other}.items())
            with pytest.raises(Unauthenticated):
                adapter.verify(replace(right, query=query), NOW)

        holds()

    def test_an_account_with_a_key_that_is_none_is_refused(self, tmp_path: Path) -> None:
        secrets = {**SAMPLES.secrets, "encoding_aes_key": b"+" * 43}

        with pytest.raises(ValueError, match="43 of"):
            built(replace(SAMPLES, secrets=secrets), tmp_path)


class TestReading:
    def test_the_question_is_answered_with_exactly_its_text(self, adapter: WeCom) -> None:
        received = adapter.read(adapter.verify(question(ECHO.encode(), NOW), NOW))

        assert (received.messages, received.answer.body) == ((), ECHO.encode())
        assert received.answer.content_type.startswith("text/plain")

    def test_a_message_carries_its_ids_and_time(self, adapter: WeCom) -> None:
        said = read(adapter, message())

        assert (said.event_id, said.place) == ("7112345678901234567", (USER,))
        assert (said.timestamp, said.thread_id) == (1_699_999_990, None)
        assert (said.address, said.holds_token, said.in_group) == ({"user": USER}, False, False)

    @pytest.mark.parametrize(
        ("changes", "content", "expected"),
        [
            (
                {"MsgType": "image", "PicUrl": "https://p.example/1", "MediaId": "m"},
                "",
                [("image", "https://p.example/1")],
            ),
            (
                {"MsgType": "image", "PicUrl": "javascript:x", "MediaId": "m"},
                "",
                [("image", "wecom:m")],
            ),
            ({"MsgType": "voice", "MediaId": "m", "Format": "amr"}, "", [("audio", "wecom:m")]),
            (
                {"MsgType": "voice", "MediaId": "m", "Recognition": "play"},
                "play",
                [("audio", "wecom:m")],
            ),
            ({"MsgType": "video", "MediaId": "m", "ThumbMediaId": "t"}, "", [("video", "wecom:m")]),
            (
                {
                    "MsgType": "location",
                    "Location_X": "23.1",
                    "Location_Y": "113.3",
                    "Label": "Home",
                },
                "Home (23.1, 113.3)",
                [],
            ),
            (
                {"MsgType": "link", "Title": "T", "Description": " ", "Url": "https://a.example"},
                "T\nhttps://a.example",
                [],
            ),
        ],
    )
    def test_other_kinds_are_text_and_attachments(
        self,
        adapter: WeCom,
        changes: dict[str, str],
        content: str,
        expected: list[tuple[str, str]],
    ) -> None:
        said = read(adapter, message(**{"Content": ..., **changes}))

        assert said.content == content
        assert [(file.type, file.url) for file in said.attachments] == expected

    @pytest.mark.parametrize(
        "payload",
        [
            message(FromUserName="@all"),
            message(FromUserName="a|b"),
            message(FromUserName=""),
            message(FromUserName=...),
            message(CreateTime="99999999999"),
            message(CreateTime="１" * 10),
            message(MsgId="x"),
            message(MsgId=...),
            message(AgentID=7),
            message(AgentID=...),
            message(MsgType="image", MediaId=""),
            message(MsgType="image", MediaId="a b"),
            message(MsgType=...),
            b"<!DOCTYPE xml>" + message(),
        ],
    )
    def test_a_wrong_field_is_told_from_a_forgery(self, adapter: WeCom, payload: bytes) -> None:
        verified = adapter.verify(request(payload, NOW), NOW)

        with pytest.raises((InvalidMessage, BadPayload)):
            adapter.read(verified)

    def test_any_fields_are_read_or_refused(self, adapter: WeCom) -> None:
        names = st.sampled_from(
            [
                *("MsgType", "MsgId", "FromUserName", "CreateTime", "AgentID", "Content"),
                *("MediaId", "PicUrl", "Label", "Event", "Recognition", "Url"),
            ]
        )
        kinds = st.sampled_from(
            ["text", "image", "voice", "video", "shortvideo", "location", "link", "event"]
        )
        texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), max_size=20)

        @given(kinds, st.dictionaries(names, texts.filter(lambda text: "]]>" not in text)))
        def holds(kind: str, changes: dict[str, str]) -> None:
            payload = message(**{"MsgType": kind, **changes})
            try:
                adapter.read(Verified(request(b"", NOW), payload))
            except (BadPayload, InvalidMessage):
                return

        holds()


@dataclass
class Double:
    """WeCom's API as it is documented, limits and all."""

    calls: list[httpx.Request] = field(default_factory=list)
    tokens: int = 0
    errcodes: list[int] = field(default_factory=list)
    """Codes of the next sends; then all is well."""
    invaliduser: str = ""

    def __call__(self, call: httpx.Request) -> httpx.Response:
        self.calls.append(call)
        if call.url.path == "/cgi-bin/gettoken":
            return self._token(call)
        said = json.loads(call.content)
        if call.url.params["access_token"] != f"{ACCESS_TOKEN}-{self.tokens}":
            return httpx.Response(200, json={"errcode": 40014, "errmsg": "invalid access_token"})
        if self.errcodes:
            code = self.errcodes.pop(0)
            return httpx.Response(200, json={"errcode": code, "errmsg": "told"})
        assert (said["agentid"], said["msgtype"], said["touser"]) == (AGENT_ID, "text", USER)
        assert len(said["text"]["content"].encode()) <= 2048
        told = {"errcode": 0, "errmsg": "ok", "invaliduser": self.invaliduser, "msgid": "sent1"}
        return httpx.Response(200, json=told)

    def _token(self, call: httpx.Request) -> httpx.Response:
        if call.url.params["corpsecret"] != CORP_SECRET.decode():
            return httpx.Response(200, json={"errcode": 40001, "errmsg": "invalid credential"})
        assert call.url.params["corpid"] == CORP_ID
        self.tokens += 1
        told = {"errcode": 0, "access_token": f"{ACCESS_TOKEN}-{self.tokens}", "expires_in": 7200}
        return httpx.Response(200, json=told)

    def paths(self) -> list[str]:
        return [call.url.path for call in self.calls]


async def sent(adapter: WeCom, said: ReplyPart) -> str | None:
    return await adapter.send(said, {"user": USER}, deadline=Deadline.after(5))


class TestSending:
    @pytest.fixture
    def double(self) -> Double:
        return Double()

    @pytest.fixture
    def sender(self, double: Double, tmp_path: Path) -> WeCom:
        client = httpx.AsyncClient(transport=httpx.MockTransport(double))
        return built(SAMPLES, tmp_path, client)

    async def test_a_reply_goes_to_the_member_with_one_token_for_all(
        self, double: Double, sender: WeCom
    ) -> None:
        ids = await asyncio.gather(*(sent(sender, part(f"answer {n}")) for n in range(3)))

        assert ids == ["sent1"] * 3
        assert double.paths().count("/cgi-bin/gettoken") == 1

    async def test_the_longest_part_is_taken(self, double: Double, sender: WeCom) -> None:
        await sent(sender, part("你" * (TEXT_BYTES // 3)))

        assert double.paths()[-1] == "/cgi-bin/message/send"

    @pytest.mark.parametrize("code", [40001, 40014, 42001])
    async def test_a_token_that_is_refused_is_replaced_once(
        self, double: Double, sender: WeCom, code: int
    ) -> None:
        double.errcodes = [code]

        assert await sent(sender, part("hi")) == "sent1"
        assert double.tokens == 2

        double.errcodes = [code, code]
        with pytest.raises(Unavailable):
            await sent(sender, part("hi"))

    @pytest.mark.parametrize(
        ("code", "expected", "wait_s"),
        [
            (45009, Overloaded, 60),
            (45033, Overloaded, 1),
            (-1, Unavailable, None),
            (60020, Unavailable, None),
            (81013, Rejected, None),
            (40058, Rejected, None),
        ],
    )
    async def test_an_error_in_a_200_says_whether_to_try_again(
        self,
        double: Double,
        sender: WeCom,
        code: int,
        expected: type[ClawdbotError],
        wait_s: float | None,
    ) -> None:
        double.errcodes = [code]

        with pytest.raises(expected) as error:
            await sent(sender, part("hi"))

        assert (type(error.value), error.value.retry_after_s) == (expected, wait_s)

    async def test_a_member_whom_the_app_does_not_see_is_told(
        self, double: Double, sender: WeCom
    ) -> None:
        double.invaliduser = USER

        with pytest.raises(Rejected):
            await sent(sender, part("hi"))

    async def test_a_wrong_secret_loses_no_reply_and_shows_nothing(
        self, double: Double, tmp_path: Path
    ) -> None:
        wrong = replace(SAMPLES, secrets={**SAMPLES.secrets, "corp_secret": OTHER})
        client = httpx.AsyncClient(transport=httpx.MockTransport(double))
        sender = built(wrong, tmp_path, client)

        with pytest.raises(Unavailable) as error:
            await sent(sender, part("hi"))

        assert OTHER.decode() not in str(error.value)
        assert ACCESS_TOKEN not in repr(vars(sender))

    async def test_a_file_is_fetched_with_a_token_unless_it_has_an_address(
        self, double: Double, sender: WeCom
    ) -> None:
        named = Attachment(type="video", url="wecom:a&b")
        shown = Attachment(type="image", url="https://p.example/1")

        public = await sender.locate(shown, {}, deadline=Deadline.after(5))
        assert (public.url, double.calls) == ("https://p.example/1", [])

        kept = await sender.locate(named, {}, deadline=Deadline.after(5))
        assert kept.url == (
            "https://qyapi.weixin.qq.com/cgi-bin/media/get"
            f"?access_token={ACCESS_TOKEN}-1&media_id=a%26b"
        )
        assert kept.hosts == {"qyapi.weixin.qq.com"}
        assert ACCESS_TOKEN not in repr(kept)

    async def test_a_200_that_is_not_wecoms_leaves_it_in_doubt(self, tmp_path: Path) -> None:
        def proxy(call: httpx.Request) -> httpx.Response:
            if call.url.path == "/cgi-bin/gettoken":
                return SAMPLES.api(call)
            return httpx.Response(200, text="<html>welcome</html>")

        client = httpx.AsyncClient(transport=httpx.MockTransport(proxy))

        with pytest.raises(AnswerLost):
            await sent(built(SAMPLES, tmp_path, client), part("hi"))


def test_events_are_acknowledged_with_an_empty_answer(adapter: WeCom) -> None:
    received = adapter.read(adapter.verify(request(event("enter_agent"), NOW), NOW))

    assert (received.messages, received.answer.status, received.answer.body) == ((), 200, b"")
