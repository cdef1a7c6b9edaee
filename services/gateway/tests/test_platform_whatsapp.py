from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.platforms.requests import RawRequest, Verified
from clawdbot.gateway.adapters.platforms.whatsapp import WhatsApp
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
from clawdbot.schema.executor import Approval, ApprovalState
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import Attachment, OutboundMessage
from services.gateway.tests.platforms.samples import NOW, account_of, adapter_of
from services.gateway.tests.platforms.whatsapp import (
    MESSAGE_ID,
    NUMBER,
    PERSON,
    PHONE,
    SAMPLES,
    SECRET,
    TOKEN,
    VERIFY_TOKEN,
    body,
    failed,
    one,
    question,
    request,
    said,
    sent,
    value,
)

HEADER = b"x-hub-signature-256"
MESSAGES = f"https://graph.facebook.com/v25.0/{NUMBER}/messages"
ADDRESS = {"phone_number_id": NUMBER, "to": PHONE, "user_id": PERSON, "message_id": MESSAGE_ID}


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Any]:
    def received(payload: bytes) -> Any:
        adapter = adapter_of(SAMPLES, tmp_path)
        return adapter.read(adapter.verify(request(payload), NOW)).messages

    return received


class TestSignatures:
    def test_escaped_text_is_verified_as_it_came(self, tmp_path: Path, read) -> None:
        payload = one(text={"body": "grüß dich / hé"})

        (message,) = read(payload)

        assert b"\\u00fc" in payload
        assert message.content == "grüß dich / hé"
        with pytest.raises(Unauthenticated):
            adapter_of(SAMPLES, tmp_path).verify(
                replace(request(payload), body=json.dumps(json.loads(payload)).encode()), NOW
            )

    def test_the_old_and_the_new_secret_are_believed_while_they_change(
        self, tmp_path: Path
    ) -> None:
        old = b"the secret that was before this"
        secrets = {**SAMPLES.secrets, "app_secret": SECRET + b"\n" + old}
        adapter = adapter_of(replace(SAMPLES, secrets=secrets), tmp_path)

        for secret in (old, SECRET):
            adapter.verify(request(one(), NOW, secret), NOW)

        with pytest.raises(Unauthenticated):
            adapter.verify(request(one(), NOW, b"somebody else's secret"), NOW)

    def test_no_other_body_or_signature_is_ever_accepted(self, tmp_path_factory) -> None:
        adapter = adapter_of(SAMPLES, tmp_path_factory.mktemp("secrets"))
        right = request(SAMPLES.message)

        @given(st.booleans(), st.integers(0), st.integers(1, 255))
        def holds(in_body: bool, at: int, change: int) -> None:
            payload, signed = bytearray(right.body), bytearray(right.headers[0][1])
            changed = payload if in_body else signed
            changed[at % len(changed)] ^= change
            headers = ((HEADER, bytes(signed)),)

            with pytest.raises(Unauthenticated):
                adapter.verify(RawRequest("POST", "/", (), headers, bytes(payload)), NOW)

        holds()

    @pytest.mark.parametrize("name", [b"x-hub-signature", b"x-hub-signature-512"])
    def test_no_other_header_will_do(self, tmp_path: Path, name: bytes) -> None:
        right = request(one())

        with pytest.raises(Unauthenticated):
            adapter_of(SAMPLES, tmp_path).verify(
                replace(right, headers=((name, right.headers[0][1]),)), NOW
            )


class TestHandshake:
    def test_the_challenge_is_answered_as_plain_text(self, tmp_path: Path) -> None:
        adapter = adapter_of(SAMPLES, tmp_path)
        asked = question(**{"hub.challenge": "<script>"})

        adapter.admit(asked)
        answer = adapter.read(adapter.verify(asked, NOW)).answer

        assert (answer.body, answer.content_type) == (b"<script>", "text/plain; charset=utf-8")

    @pytest.mark.parametrize(
        "asked",
        [
            question(b"another verify token, no less"),
            question(b""),
            question(**{"hub.mode": "unsubscribe"}),
            question(**{"hub.challenge": ""}),
            question(**{"hub.challenge": "a\r\nb"}),
            question(**{"hub.challenge": "9" * 300}),
            replace(question(), query=(*question().query, ("hub.verify_token", "x"))),
            replace(question(), query=()),
        ],
    )
    def test_any_other_question_is_refused(self, tmp_path: Path, asked: RawRequest) -> None:
        adapter = adapter_of(SAMPLES, tmp_path)

        with pytest.raises(Unauthenticated):
            adapter.admit(asked)
        with pytest.raises(Unauthenticated):
            adapter.verify(asked, NOW)

    def test_a_question_can_say_nothing(self, tmp_path: Path) -> None:
        adapter = adapter_of(SAMPLES, tmp_path)
        asked = replace(question(VERIFY_TOKEN), body=one())

        assert adapter.read(adapter.verify(asked, NOW)).messages == ()


class TestMessages:
    def test_a_person_and_a_number_of_ours_are_a_conversation(self, read) -> None:
        (message,) = read(one())

        assert message.place == (NUMBER, PERSON)
        assert (message.event_id, message.timestamp) == (MESSAGE_ID, int(NOW) - 10)
        assert message.address == ADDRESS
        assert not message.in_group

    @pytest.mark.parametrize(
        ("changes", "sender_id"), [({"from_user_id": None}, PHONE), ({"from": None}, PERSON)]
    )
    def test_whoever_is_named_is_the_sender(self, read, changes: Any, sender_id: str) -> None:
        (message,) = read(one(**changes))

        assert message.sender_id == sender_id

    def test_a_message_of_nobody_cannot_be_read(self, read) -> None:
        with pytest.raises(InvalidMessage):
            read(one(**{"from": None, "from_user_id": None}))

    def test_a_batch_keeps_what_can_be_read(self, read, caplog) -> None:
        first, second = said(), said(id="wamid.2", text={"body": "again"})

        found = read(body(value(first, said(id="x", timestamp=7)), value(second)))

        assert [(each.event_id, each.content) for each in found] == [
            (MESSAGE_ID, "hello"),
            ("wamid.2", "again"),
        ]
        assert "not understood" in caplog.text

    def test_a_file_goes_on_by_its_id(self, read) -> None:
        file = {"id": "1908647269898587", "filename": "a.pdf", "mime_type": "application/pdf"}
        (message,) = read(one(type="document", text=None, document={**file, "caption": "look"}))

        assert message.content == "look"
        assert message.attachments == (
            Attachment(
                type="file",
                url="whatsapp:1908647269898587",
                name="a.pdf",
                media_type="application/pdf",
            ),
        )

    def test_what_was_not_delivered_is_logged_by_its_code(self, read, caplog) -> None:
        assert read(failed(131047)) == ()

        (record,) = [one for one in caplog.records if "did not deliver" in one.message]
        assert record.codes == [131047]

    def test_whatever_is_signed_raises_nothing_else(self, tmp_path_factory) -> None:
        adapter = adapter_of(SAMPLES, tmp_path_factory.mktemp("secrets"))
        leaves = st.none() | st.booleans() | st.integers() | st.text()
        names = st.sampled_from([*said(), *value(), "body", "image", "interactive", "button_reply"])
        values = st.recursive(
            leaves, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=12
        )

        @given(st.dictionaries(names, values), st.dictionaries(names, values))
        def holds(in_message: dict[str, object], in_value: dict[str, object]) -> None:
            payload = body(value(said(**in_message)), {**value(said()), **in_value}, in_value)
            try:
                adapter.read(Verified(request(payload), payload))
            except (BadPayload, InvalidMessage):
                return

        holds()


class Api:
    """The Cloud API as far as sending goes."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answer: Callable[[httpx.Request], httpx.Response] = sent

    def __call__(self, asked: httpx.Request) -> httpx.Response:
        self.requests.append(asked)
        if asked.method == "GET":
            return self.answer(asked)
        told = self.told
        assert told["messaging_product"] == "whatsapp"
        if told.get("type") == "text":
            assert 0 < len(told["text"]["body"]) <= 4096
        if told.get("type") == "interactive":
            assert 0 < len(told["interactive"]["body"]["text"]) <= 1024
            buttons = told["interactive"]["action"]["buttons"]
            assert 1 <= len(buttons) <= 3
            assert all(len(each["reply"]["title"]) <= 20 for each in buttons)
            assert all(len(each["reply"]["id"]) <= 256 for each in buttons)
        return self.answer(asked)

    @property
    def told(self) -> Any:
        return json.loads(self.requests[-1].content)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest_asyncio.fixture
async def whatsapp(api: Api, tmp_path: Path) -> AsyncIterator[WhatsApp]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(api)) as client:
        yield WhatsApp(account_of(SAMPLES, tmp_path), client)


def part(text: str = "hi", index: int = 0, approval: Approval | None = None) -> ReplyPart:
    reply = OutboundMessage(
        channel=Channel("whatsapp"),
        tenant=Tenant("default"),
        conversation_id=ConversationId("c"),
        message_id=MessageId("m"),
        content=text,
        created_at_ms=1,
        approval=approval,
    )
    return ReplyPart(reply, text, index, index + 1, "key")


def refusing(status: int, code: int, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    error = {"message": "(#0) no", "type": "OAuthException", "code": code}
    return lambda _: httpx.Response(status, json={"error": error}, headers=headers)


class TestSending:
    async def test_a_reply_goes_from_the_number_that_was_written_to(
        self, whatsapp: WhatsApp, api: Api
    ) -> None:
        sent_id = await whatsapp.send(part(), ADDRESS, deadline=Deadline.after(5))

        assert sent_id == "wamid.HBgLMTY1MDU1"
        assert str(api.requests[0].url) == MESSAGES
        assert api.requests[0].headers["authorization"] == f"Bearer {TOKEN.decode()}"
        assert api.told["to"] == PHONE
        assert api.told["text"] == {"body": "hi", "preview_url": False}
        assert api.told["context"] == {"message_id": MESSAGE_ID}

    async def test_later_parts_quote_nothing(self, whatsapp: WhatsApp, api: Api) -> None:
        await whatsapp.send(part(index=1), ADDRESS, deadline=Deadline.after(5))

        assert "context" not in api.told

    async def test_a_person_without_a_number_is_answered_by_id(
        self, whatsapp: WhatsApp, api: Api
    ) -> None:
        await whatsapp.send(part(), {**ADDRESS, "to": ""}, deadline=Deadline.after(5))

        assert api.told["recipient"] == PERSON
        assert "to" not in api.told

    async def test_a_question_that_is_too_long_for_buttons_goes_without(
        self, whatsapp: WhatsApp, api: Api
    ) -> None:
        asked = Approval(
            code="K7Q2M9XW4T",
            plan_hash="0" * 64,
            rendered="rm",
            state=ApprovalState.PENDING,
            expires_at_ms=1,
        )

        await whatsapp.send(part("x" * 1024, approval=asked), ADDRESS, deadline=Deadline.after(5))
        short = api.told["type"]
        await whatsapp.send(part("x" * 1025, approval=asked), ADDRESS, deadline=Deadline.after(5))

        assert (short, api.told["type"]) == ("interactive", "text")

    @pytest.mark.parametrize(
        ("answer", "expected", "wait_s"),
        [
            (refusing(400, 131047), Rejected, None),
            (refusing(400, 131026), Rejected, None),
            (refusing(401, 190), Rejected, None),
            (refusing(500, 3), Rejected, None),
            (refusing(400, 131056), Overloaded, 6.0),
            (refusing(400, 130429), Overloaded, 1.0),
            (refusing(429, 4, **{"Retry-After": "9"}), Overloaded, 9.0),
            (refusing(500, 131000), Unavailable, None),
            (refusing(503, 2), Unavailable, None),
        ],
    )
    async def test_codes_say_whether_to_try_again(
        self,
        whatsapp: WhatsApp,
        api: Api,
        answer: Callable[[httpx.Request], httpx.Response],
        expected: type[ClawdbotError],
        wait_s: float | None,
    ) -> None:
        api.answer = answer

        with pytest.raises(ClawdbotError) as error:
            await whatsapp.send(part(), ADDRESS, deadline=Deadline.after(5))

        assert type(error.value) is expected
        assert error.value.retry_after_s == wait_s

    async def test_after_24_hours_the_reason_is_told(self, whatsapp: WhatsApp, api: Api) -> None:
        api.answer = refusing(400, 131047)

        with pytest.raises(Rejected) as error:
            await whatsapp.send(part(), ADDRESS, deadline=Deadline.after(5))

        assert "24 hours" in str(error.value.fix)

    async def test_writing_is_shown_on_the_message(self, whatsapp: WhatsApp, api: Api) -> None:
        api.answer = lambda _: httpx.Response(200, json={"success": True})

        await whatsapp.show_typing(ADDRESS, deadline=Deadline.after(5))

        assert api.told == {
            "messaging_product": "whatsapp",
            "status": "read",
            "message_id": MESSAGE_ID,
            "typing_indicator": {"type": "text"},
        }

    async def test_files_are_asked_for_and_fetched_from_metas_host_alone(
        self, whatsapp: WhatsApp, api: Api
    ) -> None:
        url = "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1"
        api.answer = lambda _: httpx.Response(200, json={"url": url})
        attachment = Attachment(type="image", url="whatsapp:1908647269898587")

        found = await whatsapp.locate(attachment, ADDRESS, deadline=Deadline.after(5))

        asked = "https://graph.facebook.com/v25.0/1908647269898587"
        assert str(api.requests[0].url) == asked
        assert (found.url, found.hosts) == (url, {"lookaside.fbsbx.com", "graph.facebook.com"})

    async def test_a_file_without_an_address_is_refused(self, whatsapp: WhatsApp, api: Api) -> None:
        api.answer = lambda _: httpx.Response(200, json={"url": 7})
        attachment = Attachment(type="image", url="whatsapp:1")

        with pytest.raises(Rejected):
            await whatsapp.locate(attachment, ADDRESS, deadline=Deadline.after(5))
