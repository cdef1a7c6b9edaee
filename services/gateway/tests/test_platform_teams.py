from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.platforms.teams import Teams
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import InvalidMessage, Unauthenticated
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import OutboundMessage
from services.gateway.tests.platforms.samples import NOW, Samples, adapter_of
from services.gateway.tests.platforms.teams import (
    AAD,
    PERSON,
    SAMPLES,
    THREAD,
    TOKEN,
    activity,
    message,
    request,
)


def with_secrets(**secrets: bytes) -> Samples:
    return replace(SAMPLES, secrets={"security_token": TOKEN, **secrets})


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Teams:
    built = adapter_of(SAMPLES, tmp_path_factory.mktemp("secrets"))
    assert isinstance(built, Teams)
    return built


class TestTheSignature:
    @given(st.binary(max_size=100), st.binary(min_size=1, max_size=10))
    def test_it_covers_every_byte(self, adapter: Teams, body: bytes, more: bytes) -> None:
        signed = request(body)
        adapter.verify(signed, NOW)

        with pytest.raises(Unauthenticated):
            adapter.verify(replace(signed, body=body + more), NOW)

    @given(st.binary(max_size=80))
    def test_no_other_value_will_do(self, adapter: Teams, value: bytes) -> None:
        for header in (value, b"HMAC " + value, b"Bearer " + value):
            with pytest.raises(Unauthenticated):
                adapter.verify(replace(request(b"{}"), headers=((b"authorization", header),)), NOW)

    def test_the_example_of_microsofts_sample_is_believed(self, tmp_path: Path) -> None:
        # The key of "contoso" in OfficeDev/microsoft-teams-sample-outgoing-webhook.
        key = b"vqF0En+Z0ucuRTM/01o2GuhMH3hKKk/N2bOmlM31zaA="
        adapter = adapter_of(with_secrets(security_token=key), tmp_path)

        adapter.verify(request(b"hello", token=key), NOW)

        with pytest.raises(Unauthenticated):
            adapter.verify(request(b"hello"), NOW)

    def test_a_token_that_is_not_base64_is_refused_at_start(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="security_token"):
            adapter_of(with_secrets(security_token=b"!" * 44), tmp_path)

    @pytest.mark.parametrize("url", [b"http://flows.example/x?sig=a", b"flows.example/x?sig=abc"])
    def test_an_address_for_replies_that_is_not_https_is_refused(
        self, tmp_path: Path, url: bytes
    ) -> None:
        with pytest.raises(ValueError, match="reply_url") as error:
            adapter_of(with_secrets(reply_url=url), tmp_path)

        assert "sig" not in str(error.value)


class TestWhatIsHeard:
    def test_a_message_that_mentions_the_webhook(self, adapter: Teams) -> None:
        (found,) = adapter.read(adapter.verify(request(message()), NOW)).messages

        assert (found.sender_id, found.content, found.place) == (AAD, "hello", (THREAD, ""))
        assert (found.timestamp, found.in_group) == (1_699_999_990, True)

    def test_the_same_id_in_another_conversation_is_another_message(self, adapter: Teams) -> None:
        bodies = (message(), message(conversation={"id": "19:other"}))
        ids = {
            adapter.read(adapter.verify(request(body), NOW)).messages[0].event_id for body in bodies
        }

        assert len(ids) == 2

    def test_without_an_organisation_a_sender_is_the_platforms_id(self, adapter: Teams) -> None:
        body = message(**{"from": PERSON}, timestamp="yesterday")
        (found,) = adapter.read(adapter.verify(request(body), NOW)).messages

        assert (found.sender_id, found.timestamp) == (PERSON["id"], None)

    def test_without_a_way_back_the_sender_is_told_so(self, tmp_path: Path) -> None:
        adapter = adapter_of(with_secrets(), tmp_path)

        found = adapter.read(adapter.verify(request(message()), NOW))

        assert b"needs a reply_url, or a bot" in found.answer.body
        assert not adapter.capabilities.replies

    @given(st.data())
    def test_whatever_stands_in_a_field_it_is_read_or_refused(
        self, adapter: Teams, data: st.DataObject
    ) -> None:
        values = st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
            max_leaves=5,
        )
        fields = data.draw(st.dictionaries(st.sampled_from(list(activity())), values))

        try:
            adapter.read(adapter.verify(request(message(**fields)), NOW))
        except (BadPayload, InvalidMessage):
            return


def part(text: str) -> ReplyPart:
    reply = OutboundMessage(
        channel=Channel("teams"),
        tenant=Tenant("default"),
        conversation_id=ConversationId("conversation"),
        message_id=MessageId("message"),
        content=text,
        created_at_ms=1_700_000_000_500,
    )
    return ReplyPart(reply, text, 0, 1, "thekeyofthispart")


async def test_a_reply_is_a_card_in_the_channel(tmp_path: Path) -> None:
    sent: list[httpx.Request] = []

    def play(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(202)

    async with httpx.AsyncClient(transport=httpx.MockTransport(play)) as client:
        adapter = adapter_of(SAMPLES, tmp_path, client)
        await adapter.send(part("**hi**" * 2000), {}, deadline=Deadline.after(5))

    (card,) = json.loads(sent[0].content)["attachments"]
    assert card["content"]["body"][0]["text"].startswith("**hi**")
    assert len(sent[0].content) < 28_000
