from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.platforms.dingtalk import TEXT_BYTES, DingTalk, sign_of
from clawdbot.gateway.adapters.platforms.interface import PlatformMessage
from clawdbot.gateway.adapters.platforms.requests import RawRequest, Verified
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.domain.deliveries import AnswerLost
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import (
    ClawdbotError,
    InvalidMessage,
    Overloaded,
    Rejected,
    Unauthenticated,
    Unavailable,
)
from clawdbot.schema.messages import MAX_ATTACHMENTS, Attachment
from services.gateway.tests.platforms.dingtalk import (
    ACCESS_TOKEN,
    APP_KEY,
    APP_SECRET,
    CONVERSATION,
    FAR_FUTURE_MS,
    SAMPLES,
    SESSION,
    STAFF,
    event,
    message,
    request,
)
from services.gateway.tests.platforms.parts import part
from services.gateway.tests.platforms.samples import NOW, Samples, account_of, adapter_of

OTHER = b"another secret of enough bytes 01"
GROUP = {
    "session": SESSION,
    "until_ms": FAR_FUTURE_MS,
    "conversation": CONVERSATION,
    "staff": STAFF,
}
ALONE = {**GROUP, "conversation": ""}
OVER = {"until_ms": 1}


def built(samples: Samples, directory: Path, client: httpx.AsyncClient | None = None) -> DingTalk:
    adapter = adapter_of(samples, directory, client)
    assert isinstance(adapter, DingTalk)
    return adapter


@pytest.fixture
def adapter(tmp_path: Path) -> DingTalk:
    return built(SAMPLES, tmp_path)


def read(adapter: DingTalk, **changes: Any) -> PlatformMessage:
    raw = request(message(**changes), NOW)
    (said,) = adapter.read(adapter.verify(raw, NOW)).messages
    return said


class TestVerification:
    def test_the_sign_is_the_documented_one(self) -> None:
        # No vector is published: this is the platform's own formula, worked out by openssl.
        assert sign_of(b"this is a secret", b"1577262236757") == (
            b"DJrE6qdyVGCQz9z5r2MDuNcNAhwYnuAkyj13cx169CA="
        )

    def test_any_of_our_secrets_will_do(self, tmp_path: Path) -> None:
        both = {**SAMPLES.secrets, "app_secret": OTHER + b"\n" + APP_SECRET}
        adapter = built(replace(SAMPLES, secrets=both), tmp_path)

        for secret in (OTHER, APP_SECRET):
            adapter.verify(request(message(), NOW, secret), NOW)

    def test_a_forged_header_is_refused_before_the_body_is_read(self, adapter: DingTalk) -> None:
        with pytest.raises(Unauthenticated):
            adapter.admit(request(b"", NOW, OTHER))

    @pytest.mark.parametrize("stamp", [b"+700000000000", b"1700000000", b"17000000000001"])
    def test_a_time_that_is_not_thirteen_digits_is_refused(
        self, adapter: DingTalk, stamp: bytes
    ) -> None:
        headers = ((b"timestamp", stamp), (b"sign", sign_of(APP_SECRET, stamp)))

        with pytest.raises(Unauthenticated):
            adapter.verify(RawRequest("POST", "/", headers=headers, body=message()), NOW)

    def test_whatever_header_is_changed_is_refused(self, adapter: DingTalk) -> None:
        right = request(message(), NOW)

        @given(st.data())
        def holds(data: st.DataObject) -> None:
            name, value = right.headers[data.draw(st.integers(0, 1))]
            other = data.draw(st.binary(max_size=60).filter(lambda text: text.strip() != value))
            rest = tuple(pair for pair in right.headers if pair[0] != name)
            with pytest.raises(Unauthenticated):
                adapter.verify(replace(right, headers=(*rest, (name, other))), NOW)

        holds()


class TestEvents:
    @pytest.mark.parametrize("name", ["msg_signature", "signature"])
    def test_an_event_is_answered_with_an_encrypted_success(
        self, adapter: DingTalk, name: str
    ) -> None:
        raw = event(b'{"EventType":"bpms_task_change"}', NOW, name=name)

        adapter.admit(replace(raw, body=b""))
        received = adapter.read(adapter.verify(raw, NOW))

        told = json.loads(received.answer.body)
        assert set(told) == {"msg_signature", "timeStamp", "nonce", "encrypt"}
        query = {"msg_signature": told["msg_signature"], "timestamp": told["timeStamp"]}
        answer = replace(
            raw,
            query=(*query.items(), ("nonce", told["nonce"])),
            body=json.dumps({"encrypt": told["encrypt"]}).encode(),
        )
        assert (adapter.verify(answer, NOW).payload, received.messages) == (b"success", ())

    def test_a_message_in_an_event_is_nobodys(self, adapter: DingTalk) -> None:
        assert not adapter.read(adapter.verify(event(message(), NOW), NOW)).messages

    @pytest.mark.parametrize(
        "raw",
        [
            event(b"{}", NOW, receiver="ding of another"),
            event(b"{}", NOW, nonce="x" * 64),
            event(b"{}", NOW - 3601),
            event(b"{}", NOW + 3601),
            event(b"{}", NOW, timestamp="1700000000"),
            event(b"{}", NOW, msg_signature="0" * 40),
            replace(event(b"{}", NOW), body=b"{}"),
            replace(event(b"{}", NOW), body=b'{"encrypt":7}'),
            replace(event(b"{}", NOW), body=b"not json"),
            # A robot's message has no way in by an event's signature, nor the other way round.
            replace(event(b"{}", NOW), body=message()),
            replace(event(b"{}", NOW), headers=((b"sign", b"x"), (b"timestamp", b"1700000000000"))),
        ],
    )
    def test_what_is_not_authentic_is_refused(self, adapter: DingTalk, raw: RawRequest) -> None:
        with pytest.raises(Unauthenticated):
            adapter.verify(raw, NOW)

    def test_an_account_without_their_secrets_takes_none(self, tmp_path: Path) -> None:
        plain = replace(SAMPLES, secrets={"app_secret": APP_SECRET})

        with pytest.raises(Unauthenticated):
            built(plain, tmp_path).verify(event(b"{}", NOW), NOW)

    @pytest.mark.parametrize(
        ("missing", "settings"),
        [
            ("event_token", {"app_key": APP_KEY}),
            ("event_aes_key", {"app_key": APP_KEY}),
            ("", {}),
        ],
    )
    def test_half_of_what_events_need_is_refused(
        self, tmp_path: Path, missing: str, settings: dict[str, object]
    ) -> None:
        secrets = {what: value for what, value in SAMPLES.secrets.items() if what != missing}

        with pytest.raises(ValueError, match="events need event_token, event_aes_key and app_key"):
            built(replace(SAMPLES, secrets=secrets, settings=settings), tmp_path)


class TestReading:
    def test_a_message_carries_its_ids_and_time(self, adapter: DingTalk) -> None:
        said = read(adapter)

        assert (said.event_id, said.place) == ("msg0xxxxx", (CONVERSATION,))
        assert (said.timestamp, said.thread_id) == (1_699_999_990, None)
        assert (said.address, said.holds_token, said.in_group) == (GROUP, True, True)

    def test_one_person_alone_is_no_group(self, adapter: DingTalk) -> None:
        said = read(adapter, conversationType="1")

        assert (said.address, said.in_group) == (ALONE, False)

    def test_who_is_no_member_is_known_by_another_id(self, adapter: DingTalk) -> None:
        said = read(adapter, senderStaffId="", createAt="1699999990678")

        assert said.sender_id == "$:LWCP_v1:$Ff09GIxxxxx"

    @pytest.mark.parametrize(
        ("kind", "content", "text", "files"),
        [
            ("picture", {"downloadCode": "c"}, "", [("image", "dingtalk:c", None)]),
            (
                "audio",
                {"downloadCode": "c", "recognition": "hi"},
                "hi",
                [("audio", "dingtalk:c", None)],
            ),
            (
                "video",
                {"downloadCode": "c", "videoType": "mp4"},
                "",
                [("video", "dingtalk:c", None)],
            ),
            (
                "file",
                {"downloadCode": "c", "fileName": "a.txt", "fileId": "1"},
                "",
                [("file", "dingtalk:c", "a.txt")],
            ),
            (
                "richText",
                {
                    "richText": [
                        {"text": "see "},
                        {"type": "picture", "downloadCode": "c"},
                        {"text": "this"},
                        7,
                    ]
                },
                "see this",
                [("image", "dingtalk:c", None)],
            ),
        ],
    )
    def test_other_kinds_are_text_and_attachments(
        self,
        adapter: DingTalk,
        kind: str,
        content: object,
        text: str,
        files: list[tuple[str, str, str | None]],
    ) -> None:
        said = read(adapter, msgtype=kind, content=content, text=...)

        assert said.content == text
        assert [(file.type, file.url, file.name) for file in said.attachments] == files

    def test_more_pictures_than_a_message_may_have_do_not_lose_its_text(
        self, adapter: DingTalk
    ) -> None:
        rows = [{"downloadCode": f"c{number}"} for number in range(40)]

        said = read(adapter, msgtype="richText", content={"richText": [*rows, {"text": "all"}]})

        assert (said.content, len(said.attachments)) == ("all", MAX_ATTACHMENTS)

    @pytest.mark.parametrize(
        "url",
        [
            "https://evil.example/robot/sendBySession?session=x",
            "http://oapi.dingtalk.com/robot/sendBySession?session=x",
            "https://oapi.dingtalk.com@evil.example/robot/sendBySession?session=x",
            "https://oapi.dingtalk.com:8443/robot/sendBySession?session=x",
            "https://oapi.dingtalk.com.evil.example/robot/sendBySession?session=x",
            "https://oapi.dingtalk.com/robot/send?session=x",
            "https://oapi.dingtalk.com/robot/sendBySession/../send?session=x",
            "https://oapi.dingtalk.com/robot/sendBySession",
            "https://[/robot/sendBySession?session=x",
            "/robot/sendBySession?session=x",
        ],
    )
    def test_a_session_elsewhere_is_refused(self, adapter: DingTalk, url: str) -> None:
        with pytest.raises(InvalidMessage, match="sessionWebhook"):
            read(adapter, sessionWebhook=url)

    @pytest.mark.parametrize(
        "changes",
        [
            {"msgId": ...},
            {"msgId": ""},
            {"conversationId": "\n"},
            {"senderId": ...},
            {"createAt": "now"},
            {"createAt": -1},
            {"createAt": 10**13},
            {"createAt": "１" * 13},
            {"text": "hello"},
            {"text": {"content": 7}},
            {"msgtype": "picture", "content": {}},
            {"msgtype": "picture", "content": {"downloadCode": "a b"}},
            {"msgtype": "richText", "content": {"richText": [{"downloadCode": None}]}},
        ],
    )
    def test_a_wrong_field_is_told(self, adapter: DingTalk, changes: dict[str, Any]) -> None:
        with pytest.raises(InvalidMessage):
            read(adapter, **changes)

    def test_any_object_is_read_or_refused(self, adapter: DingTalk) -> None:
        scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
        values = st.recursive(
            scalars | st.text(st.characters(exclude_categories=())),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_FIELDS, inner, max_size=5),
            max_leaves=10,
        )
        kinds = st.sampled_from(["text", "richText", "picture", "audio", "video", "file"])

        @given(kinds, st.dictionaries(_FIELDS, values, max_size=4))
        def holds(kind: str, changes: dict[str, object]) -> None:
            body = message(**{"msgtype": kind, **changes})
            try:
                adapter.read(Verified(request(b"", NOW), body))
            except (BadPayload, InvalidMessage):
                return

        holds()


_FIELDS = st.sampled_from(
    [
        *("msgId", "msgtype", "text", "content", "conversationId", "conversationType", "senderId"),
        *("senderStaffId", "createAt", "sessionWebhook", "sessionWebhookExpiredTime", "richText"),
        *("downloadCode", "fileName", "recognition", "chatbotUserId"),
    ]
)


@dataclass
class Double:
    """DingTalk's two APIs as they are documented, limits and all."""

    calls: list[httpx.Request] = field(default_factory=list)
    tokens: int = 0
    refusals: list[tuple[int, dict[str, object]]] = field(default_factory=list)
    """Answers to the next sends; then all is well."""
    result: dict[str, object] = field(default_factory=dict)

    def __call__(self, call: httpx.Request) -> httpx.Response:
        self.calls.append(call)
        said = json.loads(call.content)
        if call.url.path == "/v1.0/oauth2/accessToken":
            assert said == {"appKey": APP_KEY, "appSecret": APP_SECRET.decode()}
            self.tokens += 1
            told = {"accessToken": f"{ACCESS_TOKEN}-{self.tokens}", "expireIn": 7200}
            return httpx.Response(200, json=told)
        if self.refusals:
            status, body = self.refusals.pop(0)
            return httpx.Response(status, json=body)
        if call.url.host == "oapi.dingtalk.com":
            assert len(call.content) <= 20_000
            return httpx.Response(200, json={"errcode": 0, "errmsg": "ok"})
        return self._robot(call, said)

    def _robot(self, call: httpx.Request, said: dict[str, Any]) -> httpx.Response:
        token = call.headers["x-acs-dingtalk-access-token"]
        if token != f"{ACCESS_TOKEN}-{self.tokens}" or said["robotCode"] != APP_KEY:
            return httpx.Response(400, json={"code": "InvalidAuthentication"})
        if call.url.path.endswith("/messageFiles/download"):
            return httpx.Response(
                200, json={"downloadUrl": f"https://f.example/{said['downloadCode']}"}
            )
        assert len(said["msgParam"].encode()) <= 15_000
        return httpx.Response(200, json={"processQueryKey": "sent1", **self.result})

    def last(self) -> tuple[str, dict[str, Any]]:
        return self.calls[-1].url.path, json.loads(self.calls[-1].content)


Build = Callable[..., DingTalk]


class TestSending:
    @pytest.fixture
    def double(self) -> Double:
        return Double()

    @pytest.fixture
    def sender(self, double: Double, tmp_path: Path) -> Build:
        def build(**settings: object) -> DingTalk:
            client = httpx.AsyncClient(transport=httpx.MockTransport(double))
            given_settings = {"app_key": APP_KEY, **settings}
            kept = {name: value for name, value in given_settings.items() if value is not ...}
            secrets = SAMPLES.secrets if "app_key" in kept else {"app_secret": APP_SECRET}
            directory = tmp_path / str(len(list(tmp_path.iterdir())))
            directory.mkdir()
            return built(replace(SAMPLES, settings=kept, secrets=secrets), directory, client)

        return build

    async def sent(
        self, adapter: DingTalk, address: dict[str, Any], text: str = "hi"
    ) -> str | None:
        return await adapter.send(part(text), address, deadline=Deadline.after(5))

    async def test_a_reply_goes_to_the_session_without_a_token(
        self, double: Double, sender: Build
    ) -> None:
        assert await self.sent(sender(app_key=...), GROUP) is None

        assert double.calls[-1].url.params["session"] == SESSION
        assert double.last()[1] == {"msgtype": "text", "text": {"content": "hi"}}
        assert double.tokens == 0

    @pytest.mark.parametrize("address", [{**GROUP, **OVER}, {**GROUP, "session": ""}])
    async def test_once_the_session_is_over_it_goes_by_the_robot_api(
        self, double: Double, sender: Build, address: dict[str, Any]
    ) -> None:
        assert await self.sent(sender(), address) == "sent1"

        path, body = double.last()
        assert path == "/v1.0/robot/groupMessages/send"
        assert body == {
            "openConversationId": CONVERSATION,
            "msgKey": "sampleText",
            "msgParam": '{"content": "hi"}',
            "robotCode": APP_KEY,
        }

    async def test_a_session_that_dingtalk_ended_is_replaced_too(
        self, double: Double, sender: Build
    ) -> None:
        gone = (200, {"errcode": 300001, "errmsg": "token is not exist"})
        double.refusals = [gone]

        assert await self.sent(sender(), ALONE) == "sent1"

        assert double.last()[0] == "/v1.0/robot/oToMessages/batchSend"
        assert double.last()[1]["userIds"] == [STAFF]

        double.refusals = [gone]
        with pytest.raises(Rejected):
            await self.sent(sender(app_key=...), ALONE)

    async def test_an_account_may_answer_by_the_robot_api_alone(
        self, double: Double, sender: Build
    ) -> None:
        await self.sent(sender(replies="robot", robot_code=APP_KEY), GROUP)

        assert {call.url.host for call in double.calls} == {"api.dingtalk.com"}
        with pytest.raises(ValueError, match="need app_key"):
            sender(replies="robot", app_key=...)

    async def test_without_session_and_api_a_reply_is_given_up(self, sender: Build) -> None:
        with pytest.raises(Rejected, match="no app_key"):
            await self.sent(sender(app_key=...), {**GROUP, **OVER})
        with pytest.raises(Rejected, match="which member"):
            await self.sent(sender(), {**ALONE, **OVER, "staff": ""})

    @pytest.mark.parametrize("text", ["你" * (TEXT_BYTES // 3), '"\n' * (TEXT_BYTES // 2)])
    async def test_the_longest_part_is_taken_by_both(
        self, double: Double, sender: Build, text: str
    ) -> None:
        await self.sent(sender(), GROUP, text)
        await self.sent(sender(), {**GROUP, **OVER}, text)

        assert json.loads(double.last()[1]["msgParam"]) == {"content": text}

    async def test_a_token_that_is_refused_is_replaced_once(
        self, double: Double, sender: Build
    ) -> None:
        refusal = (400, {"code": "InvalidAuthentication", "message": "x"})
        double.refusals = [refusal]

        assert await self.sent(sender(), {**GROUP, **OVER}) == "sent1"
        assert double.tokens == 2

        double.refusals = [refusal, refusal]
        with pytest.raises(Unavailable):
            await self.sent(sender(), {**GROUP, **OVER})

    @pytest.mark.parametrize(
        ("address", "refusal", "expected", "wait_s"),
        [
            (GROUP, (200, {"errcode": 130101}), Overloaded, 60),
            (GROUP, (200, {"errcode": 410100}), Overloaded, 60),
            (GROUP, (200, {"errcode": -1}), Unavailable, None),
            (GROUP, (200, {}), AnswerLost, None),
            (
                {**GROUP, **OVER},
                (403, {"code": "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi"}),
                Overloaded,
                1,
            ),
            ({**GROUP, **OVER}, (400, {"code": "invalidParameter.robotCode.auth"}), Rejected, None),
            ({**GROUP, **OVER}, (503, {"code": "ServiceUnavailable"}), Unavailable, None),
            ({**GROUP, **OVER}, (200, {}), AnswerLost, None),
        ],
    )
    async def test_an_error_says_whether_to_try_again(
        self,
        double: Double,
        sender: Build,
        address: dict[str, Any],
        refusal: tuple[int, dict[str, object]],
        expected: type[ClawdbotError],
        wait_s: float | None,
    ) -> None:
        double.refusals = [refusal]

        with pytest.raises(expected) as error:
            await self.sent(sender(), address)

        assert (type(error.value), error.value.retry_after_s) == (expected, wait_s)

    @pytest.mark.parametrize(
        ("name", "expected"),
        [("invalidStaffIdList", Rejected), ("flowControlledStaffIdList", Overloaded)],
    )
    async def test_a_member_who_was_left_out_is_told(
        self, double: Double, sender: Build, name: str, expected: type[ClawdbotError]
    ) -> None:
        double.result = {name: [STAFF]}

        with pytest.raises(expected):
            await self.sent(sender(), {**ALONE, **OVER})

    async def test_a_file_is_where_dingtalk_says(self, double: Double, sender: Build) -> None:
        file = Attachment(type="file", url="dingtalk:code1")

        found = await sender().locate(file, GROUP, deadline=Deadline.after(5))

        # A public address, whatever it is: our token is not shown there.
        assert (found.url, found.headers, found.trusted) == ("https://f.example/code1", {}, None)


class TestAgainstTheOfficialSDK:
    """dingtalk-stream reads the same messages."""

    def test_it_reads_what_we_read(self, adapter: DingTalk) -> None:
        sdk = pytest.importorskip("dingtalk_stream")
        rich = {
            "richText": [{"text": "a"}, {"type": "picture", "downloadCode": "c"}, {"text": "b"}]
        }
        for changes in ({}, {"msgtype": "richText", "content": rich}):
            theirs = sdk.ChatbotMessage.from_dict(json.loads(message(**changes)))
            ours = read(adapter, **changes)

            assert (theirs.message_id, theirs.sender_staff_id) == (ours.event_id, ours.sender_id)
            assert "".join(theirs.get_text_list()).strip() == ours.content
            pictures = [f"dingtalk:{code}" for code in theirs.get_image_list() or ()]
            assert pictures == [file.url for file in ours.attachments]


def test_the_account_shows_nothing_of_its_secrets(tmp_path: Path) -> None:
    assert APP_SECRET.decode() not in repr(account_of(SAMPLES, tmp_path))
