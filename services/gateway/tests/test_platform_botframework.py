from __future__ import annotations

import base64
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.platforms.botframework import BotFramework
from clawdbot.gateway.adapters.platforms.interface import PlatformMessage
from clawdbot.gateway.adapters.platforms.requests import RawRequest, Verified
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import InvalidMessage, Unauthenticated, Unavailable
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import OutboundMessage
from services.gateway.tests.platforms.botframework import (
    AAD,
    ACCESS_TOKEN,
    APP_ID,
    KEY_ID,
    OWN,
    PASSWORD,
    PERSON,
    SAMPLES,
    SENT,
    SERVICE_URL,
    THREAD,
    activity,
    api,
    bearing,
    key,
    message,
    request,
    token,
)
from services.gateway.tests.platforms.samples import NOW, adapter_of

HERE = {
    "service_url": SERVICE_URL,
    "channel": "msteams",
    "conversation": THREAD,
    "activity": "1485983408511",
    "person": PERSON,
    "bot": OWN,
}


class Microsoft:
    """Plays login, keys and the Connector service."""

    def __init__(self) -> None:
        self.calls: list[httpx.Request] = []
        self.keys: httpx.Response | None = None
        self.refused: set[str] = set()
        self.given = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.calls.append(request)
        if request.url.path == "/v1/.well-known/keys" and self.keys is not None:
            return self.keys
        if request.url.host == "login.microsoftonline.com":
            self.given += 1
            told = {"expires_in": 3599, "access_token": f"{ACCESS_TOKEN}{self.given}"}
            return httpx.Response(200, json=told)
        if request.headers.get("authorization") in self.refused:
            return httpx.Response(401, json={"error": {"code": "Unauthorized"}})
        return api(request)


@pytest.fixture
def microsoft() -> Microsoft:
    return Microsoft()


@pytest_asyncio.fixture
async def adapter(microsoft: Microsoft, tmp_path: Path) -> AsyncIterator[BotFramework]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(microsoft)) as client:
        built = adapter_of(SAMPLES, tmp_path, client)
        assert isinstance(built, BotFramework)
        yield built


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> BotFramework:
    """Return an adapter that can only receive."""
    built = adapter_of(SAMPLES, tmp_path_factory.mktemp("secrets"))
    assert isinstance(built, BotFramework)
    return built


async def passes(adapter: BotFramework, raw: RawRequest, now: float = NOW) -> bool:
    try:
        adapter.admit(raw)
        await adapter.look_up(raw)
        adapter.verify(raw, now)
    except Unauthenticated:
        return False
    return True


def heard(adapter: BotFramework, body: bytes) -> tuple[PlatformMessage, ...]:
    return adapter.read(Verified(request(body, NOW), body)).messages


def by_the_public_key(claims: dict[str, Any]) -> str:
    """Return a token whose HS256 secret is what everybody can fetch; PyJWT would not make it."""

    def encoded(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).decode().rstrip("=")

    pem = key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = {"alg": "HS256", "typ": "JWT", "kid": KEY_ID}
    signed = ".".join(encoded(json.dumps(each).encode()) for each in (head, claims))
    return f"{signed}.{encoded(hmac.digest(pem, signed.encode(), 'sha256'))}"


class TestTheToken:
    async def test_of_the_connector_service_is_believed(self, adapter: BotFramework) -> None:
        assert await passes(adapter, request(message(), NOW))

    @pytest.mark.parametrize(
        "changes",
        [
            {"iss": "https://sts.windows.net/11111111-2222-3333-4444-555555555555/"},
            {"iss": ...},
            {"aud": "another-bot"},
            {"aud": ...},
            {"exp": ...},
            {"exp": "tomorrow"},
            {"exp": int(NOW) - 301},
            {"nbf": int(NOW) + 301},
            {"nbf": "now"},
            {"serviceurl": "https://smba.trafficmanager.net/amer/"},
            {"serviceurl": ...},
        ],
        ids=str,
    )
    async def test_that_says_anything_else_is_refused(
        self, adapter: BotFramework, changes: dict[str, Any]
    ) -> None:
        assert not await passes(adapter, bearing(message(), token(NOW, **changes)))

    async def test_of_another_key_is_refused(self, adapter: BotFramework) -> None:
        assert not await passes(adapter, bearing(message(), token(NOW, signer=key(1))))

    @pytest.mark.parametrize("changes", [{"exp": int(NOW) - 299}, {"nbf": int(NOW) + 299}])
    async def test_may_be_off_by_five_minutes(
        self, adapter: BotFramework, changes: dict[str, Any]
    ) -> None:
        assert await passes(adapter, bearing(message(), token(NOW, **changes)))

    async def test_chooses_neither_algorithm_nor_key(self, adapter: BotFramework) -> None:
        claims = jwt.decode(token(NOW), options={"verify_signature": False})
        forged = [
            jwt.encode(claims, None, algorithm="none", headers={"kid": KEY_ID}),
            by_the_public_key(claims),
            jwt.encode(claims, key(), algorithm="RS512", headers={"kid": KEY_ID}),
            jwt.encode(claims, key(), algorithm="RS256", headers={"kid": "another"}),
            jwt.encode(claims, key(), algorithm="RS256"),
            jwt.encode(claims, key(1), algorithm="RS256", headers={"kid": KEY_ID, "jwk": {}}),
        ]

        for each in forged:
            assert not await passes(adapter, bearing(message(), each))

    async def test_is_for_one_service_url_and_the_keys_channels(
        self, adapter: BotFramework
    ) -> None:
        elsewhere = message(serviceUrl="https://smba.trafficmanager.net/amer/")
        for body in (elsewhere, message(channelId="slack"), message(channelId=...), b"[]", b""):
            assert not await passes(adapter, request(body, NOW))

    @pytest.mark.parametrize("place", [0, 40, -30])
    async def test_that_was_changed_is_refused(self, adapter: BotFramework, place: int) -> None:
        good = token(NOW)
        at = place % len(good)
        changed = good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :]

        assert not await passes(adapter, bearing(message(), changed))

    @pytest.mark.parametrize("value", ["", "Bearer", "Basic abc", "Bearer a.b.c", "Bearer é"])
    async def test_that_is_none_has_no_keys_fetched(
        self, adapter: BotFramework, microsoft: Microsoft, value: str
    ) -> None:
        header = (b"authorization", value.encode())

        assert not await passes(adapter, replace(request(b"", NOW), headers=(header,)))
        assert microsoft.calls == []

    async def test_has_keys_fetched_once(self, adapter: BotFramework, microsoft: Microsoft) -> None:
        for _ in range(3):
            await passes(adapter, request(message(), NOW))

        assert len(microsoft.calls) == 1

    async def test_without_keys_nobody_is_believed(
        self, adapter: BotFramework, microsoft: Microsoft
    ) -> None:
        microsoft.keys = httpx.Response(500)

        with pytest.raises(Unavailable):
            await passes(adapter, request(message(), NOW))

    async def test_it_reads_signed_parts_alone(self, adapter: BotFramework) -> None:
        head, _, signature = token(NOW).split(".")
        claims = base64.urlsafe_b64encode(json.dumps({"aud": APP_ID}).encode()).decode().rstrip("=")

        assert not await passes(adapter, bearing(message(), f"{head}.{claims}.{signature}"))


class TestWhatIsHeard:
    async def test_a_message_in_a_channel(self, adapter: BotFramework) -> None:
        (found,) = heard(adapter, message())

        assert (found.sender_id, found.content, found.place) == (AAD, "hello", (THREAD, ""))
        assert (found.timestamp, found.in_group, found.address) == (1_699_999_990, True, HERE)

    async def test_a_personal_chat_is_no_group(self, adapter: BotFramework) -> None:
        (found,) = heard(
            adapter, message(conversation={"id": "a:1", "conversationType": "personal"})
        )

        assert not found.in_group

    async def test_a_file_is_named_by_its_address(self, adapter: BotFramework) -> None:
        file = {
            "contentType": "application/vnd.microsoft.teams.file.download.info",
            "contentUrl": "https://contoso.sharepoint.com/a.txt",
            "name": "a.txt",
            "content": {"downloadUrl": "https://download.example/a", "fileType": "txt"},
        }
        bad = {**file, "content": {"downloadUrl": "file:///etc/passwd"}}

        (found,) = heard(adapter, message(attachments=[file, bad, {"contentType": 7}]))

        ((name, url),) = [(each.name, each.url) for each in found.attachments]
        assert (name, url) == ("a.txt", "https://download.example/a")

    @pytest.mark.parametrize(
        "url",
        [
            "https://evil.example/",
            "http://smba.trafficmanager.net/emea/",
            "https://smba.trafficmanager.net.evil.example/",
            "https://evilbotframework.com/",
            "https://user@smba.trafficmanager.net/",
            "https://smba.trafficmanager.net:8443/",
            "https://127.0.0.1/",
            "",
        ],
    )
    async def test_replies_go_to_microsoft_alone(self, adapter: BotFramework, url: str) -> None:
        with pytest.raises(InvalidMessage, match="serviceUrl"):
            heard(adapter, message(serviceUrl=url))

    async def test_or_where_the_operator_says(self, tmp_path: Path) -> None:
        settings = {**SAMPLES.settings, "service_urls": ["https://smba.infra.gov.example"]}
        adapter = adapter_of(replace(SAMPLES, settings=settings), tmp_path)
        assert isinstance(adapter, BotFramework)

        assert heard(adapter, message(serviceUrl="https://smba.infra.gov.example/x/"))
        assert heard(adapter, message(serviceUrl="https://webchat.botframework.com/"))

    @given(data=st.data())
    def test_whatever_stands_in_a_field_it_is_read_or_refused(
        self, reader: BotFramework, data: st.DataObject
    ) -> None:
        values = st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
            max_leaves=5,
        )
        fields = data.draw(st.dictionaries(st.sampled_from(list(activity())), values))
        body = message(**fields)
        unsigned = Verified(bearing(body, ""), body)

        try:
            reader.read(unsigned)
        except (BadPayload, InvalidMessage):
            return


def part(text: str = "hi") -> ReplyPart:
    reply = OutboundMessage(
        channel=Channel("botframework"),
        tenant=Tenant("default"),
        conversation_id=ConversationId("conversation"),
        message_id=MessageId("message"),
        content=text,
        created_at_ms=1_700_000_000_500,
    )
    return ReplyPart(reply, text, 0, 1, "thekeyofthispart")


class TestWhatIsSent:
    async def test_a_reply_to_the_activity(
        self, adapter: BotFramework, microsoft: Microsoft
    ) -> None:
        sent_id = await adapter.send(part(), HERE, deadline=Deadline.after(5))

        login, reply = microsoft.calls
        assert login.url == "https://login.microsoftonline.com/botframework.com/oauth2/v2.0/token"
        assert b"grant_type=client_credentials" in login.content
        assert PASSWORD.decode() not in str(reply.url) + reply.content.decode()
        assert (sent_id, reply.method) == (SENT, "POST")
        conversation = (
            "19%3A253b1f341670408fb6fe51050b6e5ceb%40thread.skype%3Bmessageid%3D1485983194839"
        )
        path = f"v3/conversations/{conversation}/activities/1485983408511"
        assert str(reply.url) == SERVICE_URL + path
        assert reply.headers["authorization"] == f"Bearer {ACCESS_TOKEN}1"
        assert json.loads(reply.content)["from"] == {"id": OWN}

    async def test_a_refused_token_is_replaced_once(
        self, adapter: BotFramework, microsoft: Microsoft
    ) -> None:
        microsoft.refused.add(f"Bearer {ACCESS_TOKEN}1")

        await adapter.send(part(), HERE, deadline=Deadline.after(5))
        await adapter.send(part(), HERE, deadline=Deadline.after(5))

        assert microsoft.given == 2

    async def test_an_edit_puts_the_activity(
        self, adapter: BotFramework, microsoft: Microsoft
    ) -> None:
        await adapter.edit(SENT, part("better"), HERE, deadline=Deadline.after(5))

        change = microsoft.calls[-1]
        assert (change.method, change.url.path.endswith(f"/activities/{SENT}")) == ("PUT", True)
        assert json.loads(change.content)["text"] == "better"

    async def test_other_channels_than_teams_edit_nothing(self, adapter: BotFramework) -> None:
        assert adapter.traits(part(), HERE).edits
        assert not adapter.traits(part(), {**HERE, "channel": "webchat"}).edits
