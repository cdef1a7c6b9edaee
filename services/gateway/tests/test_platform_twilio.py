from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.platforms.keys import Keys
from clawdbot.gateway.adapters.platforms.requests import RawRequest, Verified
from clawdbot.gateway.adapters.platforms.twilio import TWIML, Twilio
from clawdbot.gateway.adapters.platforms.twilio_signature import verified
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
from clawdbot.schema.messages import Attachment, OutboundMessage
from services.gateway.tests.platforms.samples import NOW, account_of, adapter_of
from services.gateway.tests.platforms.twilio import (
    ACCOUNT,
    MESSAGE,
    OURS,
    SAMPLES,
    THEIRS,
    TOKEN,
    URL,
    form,
    hashed,
    request,
    sent,
    signature,
)

HEADER = b"x-twilio-signature"
CALL = {
    "CallSid": "CA1234567890ABCDE",
    "Digits": "1234",
    "From": "+14158675309",
    "To": "+18005551212",
    "Caller": "+14158675309",
}
JSON_BODY = b'{"property": "value", "boolean": true}'
JSON_HASH = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
MESSAGES = f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
ADDRESS = {"to": THEIRS, "from": OURS}


def offered(url: str, body: bytes, signed: bytes) -> RawRequest:
    query = tuple(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    return RawRequest("POST", url, query, ((HEADER, signed),), body)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Any]:
    def received(raw: RawRequest) -> Any:
        adapter = adapter_of(SAMPLES, tmp_path)
        return adapter.read(adapter.verify(raw, NOW)).messages

    return received


class TestSignatures:
    @pytest.mark.parametrize(
        "raw",
        [
            offered(
                "https://mycompany.com/myapp.php?foo=1&bar=2",
                urlencode(CALL).encode(),
                b"RSOYDt4T1cUTdK1PDd93/VVr8B8=",
            ),
            offered(
                "https://mycompany.com:443/myapp.php?foo=1&bar=2",
                urlencode(CALL).encode(),
                b"RSOYDt4T1cUTdK1PDd93/VVr8B8=",
            ),
            offered(
                "https://example.com/myapp.php?foo=1&bar=2",
                urlencode({**CALL, "From": "+14158675310", "Caller": "+14158675310"}).encode(),
                b"L/OH5YylLD5NRKLltdqwSvS0BnU=",
            ),
            offered(
                f"https://mycompany.com/myapp.php?foo=1&bar=2&bodySHA256={JSON_HASH}",
                JSON_BODY,
                b"a9nBmqA0ju/hNViExpshrM61xv4=",
            ),
        ],
    )
    def test_the_published_ones_are_authentic(self, raw: RawRequest) -> None:
        assert verified(raw, Keys(b"12345")).payload == raw.body

        with pytest.raises(Unauthenticated):
            verified(raw, Keys(b"12346"))
        with pytest.raises(Unauthenticated):
            verified(replace(raw, body=raw.body + b"&a=b"), Keys(b"12345"))
        with pytest.raises(Unauthenticated):
            verified(replace(raw, url=raw.url.replace("foo=1", "foo=2")), Keys(b"12345"))

    @given(st.dictionaries(st.text(min_size=1), st.text(), min_size=1, max_size=8))
    def test_the_vendors_own_validator_agrees(self, fields: dict[str, str]) -> None:
        validator = pytest.importorskip("twilio.request_validator").RequestValidator("a token")
        signed = validator.compute_signature(URL, fields).encode()

        body = urlencode(fields).encode()

        assert verified(offered(URL, body, signed), Keys(b"a token")).payload == body
        assert signature(URL, list(fields.items()), b"a token") == signed

    @pytest.mark.parametrize("host", ["bot.example", "bot.example:8443", "[2001:db8::1]:8443"])
    def test_the_port_is_signed_or_not(self, host: str) -> None:
        raw = request(form(), url=f"https://{host}/webhooks/twilio")
        bare = host.removesuffix(":8443")
        without = request(form(), url=f"https://{bare}/webhooks/twilio").headers

        verified(raw, Keys(TOKEN))
        verified(replace(raw, headers=without), Keys(TOKEN))

    @pytest.mark.parametrize(
        "body",
        [
            form().replace(b"ToCountry=US", b"ToCountry&US=").replace(b"US=", b"US"),
            form() + b"&",
            form() + b"&a=%ff",
            form() + b"&a=\xff",
            b"&".join(b"%d=" % at for at in range(300)),
        ],
    )
    def test_a_form_that_is_none_is_refused_though_it_is_signed(self, body: bytes) -> None:
        with pytest.raises(Unauthenticated):
            verified(request(body), Keys(TOKEN))

    def test_a_hash_of_another_body_is_refused(self) -> None:
        raw = hashed(JSON_BODY)

        for body in (b"", JSON_BODY + b" ", form()):
            with pytest.raises(Unauthenticated):
                verified(replace(raw, body=body), Keys(TOKEN))
        with pytest.raises(Unauthenticated):
            verified(replace(raw, query=raw.query * 2), Keys(TOKEN))

    def test_the_old_and_the_new_token_are_believed_while_they_change(self, tmp_path: Path) -> None:
        old = b"the token that was before this"
        secrets = {"auth_token": TOKEN + b"\n" + old}
        adapter = adapter_of(replace(SAMPLES, secrets=secrets), tmp_path)

        for token in (old, TOKEN):
            adapter.verify(request(form(), NOW, token), NOW)

        with pytest.raises(Unauthenticated):
            adapter.verify(request(form(), NOW, b"somebody else's token"), NOW)

    @given(st.booleans(), st.integers(0), st.integers(1, 255))
    def test_nothing_else_is_ever_accepted(self, in_body: bool, at: int, change: int) -> None:
        right = request(form())
        payload, signed = bytearray(right.body), bytearray(right.headers[0][1])
        changed = payload if in_body else signed
        changed[at % len(changed)] ^= change
        raw = replace(right, body=bytes(payload), headers=((HEADER, bytes(signed)),))

        try:
            verified(raw, Keys(TOKEN))
        except Unauthenticated:
            return
        # The same form in other bytes: `%2B` and `%2b`, say.
        assert bytes(signed) == right.headers[0][1]
        assert dict(parse_qsl(raw.body.decode())) == dict(parse_qsl(form().decode()))

    def test_without_a_public_address_it_is_refused_at_start(self, tmp_path: Path) -> None:
        account = replace(account_of(SAMPLES, tmp_path), url="")

        with pytest.raises(ValueError, match=r"app\.public_url"):
            Twilio(account, httpx.AsyncClient())

    @pytest.mark.parametrize("sid", [None, "", "AC1", "AC" + "0" * 31 + "/"])
    def test_an_account_is_needed(self, tmp_path: Path, sid: str | None) -> None:
        settings = {} if sid is None else {"account_sid": sid}

        with pytest.raises(ConfigError, match="account_sid"):
            account_of(replace(SAMPLES, settings=settings), tmp_path)


class TestMessages:
    def test_a_person_and_a_number_of_ours_are_a_conversation(self, read) -> None:
        (message,) = read(request(form()))

        assert message.place == (OURS, THEIRS)
        assert message.event_id == MESSAGE
        assert message.address == ADDRESS
        assert not message.in_group

    def test_json_of_a_flow_says_the_same(self, read) -> None:
        told = {"MessageSid": MESSAGE, "From": THEIRS, "To": OURS, "Body": "hello"}

        (message,) = read(hashed(json.dumps(told).encode()))

        assert (message.sender_id, message.content) == (THEIRS, "hello")

    def test_other_channels_of_twilio_are_senders_too(self, read) -> None:
        (message,) = read(request(form(From=f"whatsapp:{THEIRS}", To=f"whatsapp:{OURS}")))

        assert message.address == {"to": f"whatsapp:{THEIRS}", "from": f"whatsapp:{OURS}"}

    def test_pictures_go_on(self, read) -> None:
        url = f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Messages/MM1/Media/ME"
        given = {
            "MediaUrl0": f"{url}0",
            "MediaContentType0": "image/jpeg",
            "MediaUrl1": f"{url}1",
            "MediaContentType1": "text/vcard",
            "MediaUrl3": f"{url}3",
        }

        (message,) = read(request(form(Body="", NumMedia="3", **given)))

        assert message.attachments == (
            Attachment(type="image", url=f"{url}0", media_type="image/jpeg"),
            Attachment(type="file", url=f"{url}1", media_type="text/vcard"),
        )

    def test_a_field_twice_cannot_be_read(self, read) -> None:
        with pytest.raises(BadPayload):
            read(request(form() + b"&Body=bye"))

    def test_whatever_is_signed_raises_nothing_else(self, tmp_path_factory) -> None:
        adapter = adapter_of(SAMPLES, tmp_path_factory.mktemp("secrets"))
        known = dict(parse_qsl(form().decode(), keep_blank_values=True))
        names = st.sampled_from([*known, "MediaUrl0", "MediaContentType0", "OptOutType"])
        leaves = st.none() | st.booleans() | st.integers() | st.text() | st.just("https://x")

        @given(st.dictionaries(names, leaves | st.lists(leaves)), st.binary())
        def holds(changes: dict[str, object], noise: bytes) -> None:
            for payload in (json.dumps({**known, **changes}).encode(), noise):
                try:
                    received = adapter.read(Verified(hashed(payload), payload))
                except (BadPayload, InvalidMessage):
                    continue
                assert received.answer == TWIML

        holds()


class Api:
    """Twilio as far as sending goes."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answer: Callable[[httpx.Request], httpx.Response] = sent

    def __call__(self, asked: httpx.Request) -> httpx.Response:
        self.requests.append(asked)
        told = dict(parse_qsl(asked.content.decode(), strict_parsing=True))
        assert 0 < len(told["Body"]) <= 1600
        return self.answer(asked)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest_asyncio.fixture
async def twilio(api: Api, tmp_path: Path) -> AsyncIterator[Twilio]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(api)) as client:
        yield Twilio(account_of(SAMPLES, tmp_path), client)


def part(text: str = "hi & bye") -> ReplyPart:
    reply = OutboundMessage(
        channel=Channel("twilio"),
        tenant=Tenant("default"),
        conversation_id=ConversationId("c"),
        message_id=MessageId("m"),
        content=text,
        created_at_ms=1,
    )
    return ReplyPart(reply, text, 0, 1, "key")


def refusing(status: int, code: int, **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    told = {"code": code, "message": "no", "more_info": "https://x", "status": status}
    return lambda _: httpx.Response(status, json=told, headers=headers)


class TestSending:
    async def test_a_reply_goes_from_the_number_that_was_written_to(
        self, twilio: Twilio, api: Api
    ) -> None:
        sid = await twilio.send(part(), ADDRESS, deadline=Deadline.after(5))

        (asked,) = api.requests
        credentials = base64.b64encode(f"{ACCOUNT}:{TOKEN.decode()}".encode()).decode()
        assert (sid, str(asked.url)) == ("SM" + "a" * 32, MESSAGES)
        assert asked.headers["authorization"] == f"Basic {credentials}"
        assert dict(parse_qsl(asked.content.decode())) == {
            "To": THEIRS,
            "From": OURS,
            "Body": "hi & bye",
        }

    @pytest.mark.parametrize(
        ("answer", "expected", "wait_s"),
        [
            (refusing(400, 21610), Rejected, None),
            (refusing(400, 21211), Rejected, None),
            (refusing(401, 20003), Rejected, None),
            (refusing(429, 20429), Overloaded, 1.0),
            (refusing(429, 20429, **{"Retry-After": "9"}), Overloaded, 9.0),
            (refusing(400, 21611), Overloaded, 30.0),
            (refusing(503, 20503), Unavailable, None),
        ],
    )
    async def test_codes_say_whether_to_try_again(
        self,
        twilio: Twilio,
        api: Api,
        answer: Callable[[httpx.Request], httpx.Response],
        expected: type[ClawdbotError],
        wait_s: float | None,
    ) -> None:
        api.answer = answer

        with pytest.raises(ClawdbotError) as error:
            await twilio.send(part(), ADDRESS, deadline=Deadline.after(5))

        assert type(error.value) is expected
        assert error.value.retry_after_s == wait_s

    async def test_who_has_opted_out_is_told_of(self, twilio: Twilio, api: Api) -> None:
        api.answer = refusing(400, 21610)

        with pytest.raises(Rejected) as error:
            await twilio.send(part(), ADDRESS, deadline=Deadline.after(5))

        assert "START" in str(error.value.fix)

    @pytest.mark.parametrize(
        ("url", "is_ours"),
        [
            (f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Messages/MM1/Media/ME1", True),
            ("https://api.twilio.com.evil.example/a", False),
            ("https://api.twilio.com@evil.example/a", False),
            ("https://evil.example/https://api.twilio.com/", False),
        ],
    )
    async def test_our_token_goes_to_twilio_alone(
        self, twilio: Twilio, url: str, is_ours: bool
    ) -> None:
        attachment = Attachment(type="image", url=url)

        found = await twilio.locate(attachment, ADDRESS, deadline=Deadline.after(5))

        assert (found.url, bool(found.headers)) == (url, is_ours)
