from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from clawdbot.gateway.adapters.platforms.discord import Discord
from clawdbot.gateway.adapters.platforms.interface import PlatformMessage, Received
from clawdbot.gateway.adapters.platforms.requests import RawRequest, Verified
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import split
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import (
    InvalidMessage,
    Overloaded,
    Rejected,
    Unauthenticated,
    Unavailable,
)
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import Attachment, OutboundMessage
from services.gateway.tests.platforms.discord import (
    APPLICATION,
    BOT_TOKEN,
    CHANNEL,
    KEY,
    PUBLIC_KEY,
    SAMPLES,
    SENDER,
    TOKEN,
    event,
    interaction,
    option,
    payload,
    request,
    snowflake,
)
from services.gateway.tests.platforms.samples import NOW, Samples, account_of, adapter_of

OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
OTHER_PUBLIC_KEY = OTHER_KEY.public_key().public_bytes_raw().hex()
WEBHOOK = f"/api/v10/webhooks/{APPLICATION}/{TOKEN}"
BOT_CALL = f"/api/v10/channels/{CHANNEL}/messages"


def with_keys(*keys: str, bot: bool = True) -> Samples:
    secrets = {"public_key": "\n".join(keys).encode()}
    return replace(SAMPLES, secrets=secrets | ({"bot_token": BOT_TOKEN.encode()} if bot else {}))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Discord:
    found = adapter_of(SAMPLES, tmp_path_factory.mktemp("secrets"))
    assert isinstance(found, Discord)
    return found


def read(adapter: Discord, body: bytes) -> Received:
    return adapter.read(adapter.verify(request(body, NOW), NOW))


def said(adapter: Discord, *options: object, **changes: Any) -> PlatformMessage:
    (message,) = read(adapter, payload(*options, **changes)).messages
    return message


class TestSignatures:
    def test_any_of_our_keys_is_believed(self, tmp_path: Path) -> None:
        adapter = adapter_of(with_keys(OTHER_PUBLIC_KEY, PUBLIC_KEY.upper()), tmp_path)

        for key in (KEY, OTHER_KEY):
            assert adapter.verify(request(b"{}", NOW, key), NOW).payload == b"{}"

    def test_a_key_that_is_not_ours_is_not_believed(self, adapter: Discord) -> None:
        with pytest.raises(Unauthenticated):
            adapter.verify(request(b"{}", NOW, OTHER_KEY), NOW)

    def test_the_time_is_signed_too(self, adapter: Discord) -> None:
        raw = request(b"{}", NOW)
        headers = (raw.headers[0], (b"x-signature-timestamp", str(int(NOW) + 1).encode()))

        with pytest.raises(Unauthenticated):
            adapter.verify(replace(raw, headers=headers), NOW)

    @pytest.mark.parametrize("stamp", [b"nan", b"+700000000", b"17000000000", b"1700000000.0"])
    def test_a_signed_time_that_is_not_ten_digits_is_refused(
        self, adapter: Discord, stamp: bytes
    ) -> None:
        signature = KEY.sign(stamp + b"{}").hex().encode()
        headers = ((b"x-signature-ed25519", signature), (b"x-signature-timestamp", stamp))

        with pytest.raises(Unauthenticated):
            adapter.verify(RawRequest("POST", "/", headers=headers, body=b"{}"), NOW)

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda text: text[:-2],
            lambda text: text + b"00",
            lambda text: text[:64] + b" " + text[65:],
            lambda text: b"0x" + text[2:],
            lambda text: b" ".join((text[:64], text[64:])),
            lambda text: b"0" * 128,
        ],
    )
    def test_a_signature_is_128_hexadecimal_digits(
        self, adapter: Discord, spoil: Callable[[bytes], bytes]
    ) -> None:
        raw = request(b"{}", NOW)
        headers = ((b"x-signature-ed25519", spoil(raw.headers[0][1])), raw.headers[1])

        with pytest.raises(Unauthenticated):
            adapter.verify(replace(raw, headers=headers), NOW)

    @given(st.binary(max_size=200), st.integers(0, 511), st.data())
    def test_one_changed_bit_is_one_too_many(
        self, adapter: Discord, body: bytes, bit: int, data: st.DataObject
    ) -> None:
        raw = request(body, NOW)
        signature = bytearray.fromhex(raw.headers[0][1].decode())
        signature[bit // 8] ^= 1 << bit % 8
        forged = ((b"x-signature-ed25519", signature.hex().encode()), raw.headers[1])
        other = data.draw(st.binary(max_size=200).filter(lambda drawn: drawn != body))

        for wrong in (replace(raw, headers=forged), replace(raw, body=other)):
            with pytest.raises(Unauthenticated):
                adapter.verify(wrong, NOW)

    @pytest.mark.parametrize(
        ("key", "reason"),
        [
            ("x" * 64, "hexadecimal"),
            (PUBLIC_KEY + "00", "hexadecimal"),
            ("0" * 64, "everybody"),
            ("01" + "0" * 62, "everybody"),
            ("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", "everybody"),
        ],
    )
    def test_a_key_that_guards_nothing_is_refused_at_start(
        self, tmp_path: Path, key: str, reason: str
    ) -> None:
        with pytest.raises(ValueError, match=reason) as error:
            adapter_of(with_keys(PUBLIC_KEY, key), tmp_path)

        assert key not in str(error.value)

    def test_a_bot_token_with_its_scheme_is_refused_at_start(self, tmp_path: Path) -> None:
        secrets = {**SAMPLES.secrets, "bot_token": f"Bot {BOT_TOKEN}".encode()}

        with pytest.raises(ValueError, match="leave out 'Bot'"):
            adapter_of(replace(SAMPLES, secrets=secrets), tmp_path)


class TestAgainstTheLibrariesThatDiscordNames:
    def test_we_believe_what_pynacl_signs(self, adapter: Discord) -> None:
        signing = pytest.importorskip("nacl.signing")
        key = signing.SigningKey(bytes(range(32)))

        @given(st.binary(max_size=300))
        def holds(body: bytes) -> None:
            stamp = str(int(NOW)).encode()
            signature = key.sign(stamp + body).signature.hex().encode()
            headers = ((b"x-signature-ed25519", signature), (b"x-signature-timestamp", stamp))
            raw = RawRequest("POST", "/", headers=headers, body=body)

            assert adapter.verify(raw, NOW).payload == body

        holds()

    def test_pynacl_believes_what_the_samples_sign(self) -> None:
        signing = pytest.importorskip("nacl.signing")
        raw = request(SAMPLES.message, NOW)
        (_, signature), (_, stamp) = raw.headers

        key = signing.VerifyKey(bytes.fromhex(PUBLIC_KEY))

        assert key.verify(stamp + raw.body, bytes.fromhex(signature.decode()))

    def test_discords_own_package_believes_what_the_samples_sign(self) -> None:
        official = pytest.importorskip("discord_interactions")
        raw = request(SAMPLES.message, NOW)
        (_, signature), (_, stamp) = raw.headers

        assert official.verify_key(raw.body, signature.decode(), stamp.decode(), PUBLIC_KEY)


class TestMessages:
    def test_discords_own_example_is_understood(self, adapter: Discord) -> None:
        message = said(
            adapter,
            option("cardname", 3, "The Gitrog Monster"),
            id="786008729715212338",
            data={"name": "cardsearch"},
        )

        assert (message.event_id, message.sender_id) == ("786008729715212338", SENDER)
        assert (message.content, message.place) == ("The Gitrog Monster", (CHANNEL, ""))
        assert message.timestamp == 1_607_469_484
        assert message.holds_token
        assert message.address["token"] == TOKEN

    def test_the_time_is_that_of_the_id(self, adapter: Discord) -> None:
        assert said(adapter, id="175928847299117063").timestamp == 1_462_015_105

    def test_several_options_are_told_by_name(self, adapter: Discord) -> None:
        resolved = {
            "users": {"1": {"id": "1", "username": "ada"}},
            "channels": {"2": {"name": "x"}},
        }
        options = (
            option("text", 3, "buy milk"),
            option("hours", 4, 3),
            option("loud", 5, True),
            option("for", 6, "1"),
            option("in", 7, "2"),
            option("as", 8, "3"),
        )
        sub = {"name": "add", "type": 1, "options": options}
        group = {"name": "list", "type": 2, "options": [sub]}

        message = said(adapter, group, data={"name": "remind", "resolved": resolved})

        assert message.content.split("\n") == [
            "/remind list add",
            "text: buy milk",
            "hours: 3",
            "loud: true",
            "for: ada",
            "in: x",
            "as: 3",
        ]

    def test_a_command_without_options_says_its_name(self, adapter: Discord) -> None:
        sub = {"name": "status", "type": 1, "options": []}

        assert said(adapter, data={"name": "help"}).content == "/help"
        assert said(adapter, sub, data={"name": "job"}).content == "/job status"

    def test_files_come_along(self, adapter: Discord) -> None:
        url = "https://cdn.discordapp.com/ephemeral-attachments/1/2/a.png?ex=1&is=2&hm=3"
        files = {
            "11": {"id": "11", "filename": "a.png", "content_type": "image/png", "url": url},
            "12": {"id": "12", "filename": "b" * 300, "url": "https://cdn.discordapp.com/b"},
        }

        message = said(
            adapter,
            option("what", 3, "look"),
            option("file", 11, "11"),
            data={"resolved": {"attachments": files}},
        )

        assert message.content == "look"
        assert message.attachments[0] == Attachment(
            type="image", url=url, name="a.png", media_type="image/png"
        )
        assert (message.attachments[1].type, len(message.attachments[1].name or "")) == (
            "file",
            255,
        )

    def test_a_command_on_a_message_says_what_it_says(self, adapter: Discord) -> None:
        files = [{"id": "1", "filename": "v.ogg", "content_type": "audio/ogg", "url": "https://v"}]
        resolved = {"messages": {"77": {"id": "77", "content": "bonjour", "attachments": files}}}

        message = said(
            adapter, data={"name": "Translate", "type": 3, "target_id": "77", "resolved": resolved}
        )

        assert message.content == "/Translate\nbonjour"
        assert [file.type for file in message.attachments] == ["audio"]

    def test_a_command_on_a_user_names_them(self, adapter: Discord) -> None:
        resolved = {"users": {"5": {"id": "5", "username": "ada", "global_name": "Ada"}}}

        message = said(
            adapter, data={"name": "Greet", "type": 2, "target_id": "5", "resolved": resolved}
        )

        assert message.content == "/Greet\nAda"

    def test_a_thread_is_a_conversation_of_its_own(self, adapter: Discord) -> None:
        thread = {"id": "9", "type": 11, "parent_id": CHANNEL}

        message = said(adapter, channel_id="9", channel=thread)

        assert (message.place, message.thread_id) == ((CHANNEL, "9"), "9")
        assert message.address["channel_id"] == "9"

    def test_a_direct_message_has_a_user_without_membership(self, adapter: Discord) -> None:
        assert said(adapter, member=None, user={"id": "4", "username": "x"}).sender_id == "4"

    def test_halves_of_characters_do_not_stop_a_message(self, adapter: Discord) -> None:
        body = payload(option("q", 3, "a?b")).replace(b"a?b", rb"a\ud800\u0000b")

        (message,) = read(adapter, body).messages

        assert message.content == "a\ufffd\ufffdb"

    @pytest.mark.parametrize(
        "changes",
        [
            {"token": ""},
            {"token": "a b"},
            {"token": "\u4f60"},
            {"id": 7},
            {"id": "\u0661"},
            {"id": "1\n"},
            {"application_id": "../@me"},
            {"channel_id": "1/2"},
            {"member": None},
            {"member": {"user": {"id": ""}}},
            {"data": {"options": "x"}},
            {"data": {"name": None}},
        ],
    )
    def test_a_wrong_field_is_refused(self, adapter: Discord, changes: dict[str, Any]) -> None:
        with pytest.raises(InvalidMessage):
            read(adapter, payload(**changes))

    def test_what_was_not_kept_is_told_to_its_sender_alone(self, adapter: Discord) -> None:
        received = read(adapter, SAMPLES.message)

        assert received.on_failure is not None
        told = json.loads(received.on_failure.body)
        assert (received.on_failure.status, told["type"], told["data"]["flags"]) == (200, 4, 64)

    def test_a_webhook_ping_is_answered_with_a_content_type(self, adapter: Discord) -> None:
        answer = read(adapter, event(0)).answer

        assert (answer.status, answer.body, answer.content_type) == (204, b"", "application/json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


class TestAnyAuthenticObject:
    def readable(self, adapter: Discord, body: bytes) -> None:
        # Nothing but the errors that the core expects.
        with suppress(BadPayload, InvalidMessage):
            adapter.read(Verified(RawRequest("POST", "/"), body))

    @settings(max_examples=40)
    @given(st.dictionaries(st.text(max_size=8), JSON, max_size=5), st.integers(-1, 7))
    def test_is_read_or_refused(self, adapter: Discord, values: dict[str, Any], kind: int) -> None:
        self.readable(adapter, json.dumps({**values, "type": kind}).encode())

    @settings(max_examples=40)
    @given(st.sampled_from(sorted(interaction())), JSON)
    def test_with_one_field_spoilt_is_read_or_refused(
        self, adapter: Discord, name: str, value: object
    ) -> None:
        self.readable(adapter, json.dumps({**interaction(), name: value}).encode())

    @settings(max_examples=40)
    @given(
        st.sampled_from(["name", "type", "options", "resolved", "target_id"]),
        JSON | st.lists(st.fixed_dictionaries({"name": JSON, "type": JSON, "value": JSON})),
    )
    def test_with_its_data_spoilt_is_read_or_refused(
        self, adapter: Discord, name: str, value: object
    ) -> None:
        self.readable(adapter, payload(data={name: value}))


@dataclass
class DiscordAPI:
    """Discord's API as far as we use it, with its limits."""

    at: float = NOW
    has_heard_of_it: bool = True
    is_token_valid: bool = True
    failures: list[httpx.Response] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    nonces: dict[str, str] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.calls.append(f"{request.method} {request.url.raw_path.decode()}")
        if self.failures:
            return self.failures.pop(0)
        agent, kind = request.headers["user-agent"], request.headers["content-type"]
        if not agent.startswith("DiscordBot (https://") or kind != "application/json":
            return error(400, 50035)
        body = json.loads(request.content)
        self.bodies.append(body)
        refusal = self._admitted(request) or self._valid(body)
        return refusal or self._sent(request, body)

    def _admitted(self, request: httpx.Request) -> httpx.Response | None:
        if request.url.path.startswith(BOT_CALL):
            is_bot = request.headers.get("authorization") == f"Bot {BOT_TOKEN}"
            return None if is_bot else error(401, 0)
        if not request.url.path.startswith(WEBHOOK) or "authorization" in request.headers:
            return error(404, 0)
        if not self.has_heard_of_it:
            return error(404, 10015)
        return None if self.is_token_valid else error(401, 50027)

    def _valid(self, body: dict[str, Any]) -> httpx.Response | None:
        embeds = body.get("embeds", [])
        too_long = len(body["content"]) > 2000 or len(body.get("nonce", "")) > 25
        too_long |= len(embeds) > 10 or any(len(embed["title"]) > 256 for embed in embeds)
        if too_long or body["allowed_mentions"] != {"parse": []}:
            return error(400, 50035)
        return None if body["content"].strip() or embeds else error(400, 50006)

    def _sent(self, request: httpx.Request, body: dict[str, Any]) -> httpx.Response:
        name = request.url.path.rpartition("/")[2]
        if request.method == "PATCH":
            if name != "@original" and name not in self.messages:
                return error(404, 10008)
            self.messages[name] = body
            return httpx.Response(200, json={"id": name})
        nonce = body.get("nonce")
        if nonce in self.nonces and body.get("enforce_nonce"):
            return httpx.Response(200, json={"id": self.nonces[nonce]})
        sent_id = str(len(self.messages) + 1)
        self.messages[sent_id] = body
        if nonce:
            self.nonces[nonce] = sent_id
        return httpx.Response(200, json={"id": sent_id})


def error(status: int, code: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"message": "no", "code": code}, headers=headers)


def address(at: float = NOW, **changes: Any) -> dict[str, Any]:
    said_at_ms = int(at * 1000)
    there = {"application_id": APPLICATION, "token": TOKEN, "channel_id": CHANNEL}
    return {**there, "said_at_ms": said_at_ms, **changes}


def parts(text: str, *files: Attachment, number: int = 0) -> list[ReplyPart]:
    reply = OutboundMessage(
        channel=Channel("discord"),
        tenant=Tenant("default"),
        conversation_id=ConversationId("conversation"),
        message_id=MessageId("message"),
        part=number,
        content=text,
        attachments=files,
        created_at_ms=1_700_000_000_500,
    )
    texts = split(text, Discord.limits.text) or ("",)
    return [
        ReplyPart(reply, texts[index], index, len(texts), f"{index:0>26}".replace("0", "a"))
        for index in range(len(texts))
    ]


Send = Callable[..., Any]


@pytest.fixture
def api() -> DiscordAPI:
    return DiscordAPI()


@pytest.fixture
def speaking(api: DiscordAPI, tmp_path: Path) -> Callable[..., Discord]:
    def make(*, has_bot: bool = True) -> Discord:
        account = account_of(with_keys(PUBLIC_KEY, bot=has_bot), tmp_path)
        client = httpx.AsyncClient(transport=httpx.MockTransport(api))
        return Discord(account, client, lambda: api.at)

    return make


@pytest.fixture
def send(speaking: Callable[..., Discord]) -> Send:
    async def say(
        text: str = "hi", *files: Attachment, bot: bool = True, to: Any = None, number: int = 0
    ) -> list[str | None]:
        adapter = speaking(has_bot=bot)
        return [
            await adapter.send(part, to or address(), deadline=Deadline.after(5))
            for part in parts(text, *files, number=number)
        ]

    return say


class TestReplies:
    async def test_the_first_part_fills_the_deferred_answer_and_the_rest_follows(
        self, api: DiscordAPI, send: Send
    ) -> None:
        text = "word \U0001f600 " * 700

        ids = await send(text)

        assert api.calls == [
            f"PATCH {WEBHOOK}/messages/@original",
            *[f"POST {WEBHOOK}"] * (len(ids) - 1),
        ]
        assert len(ids) == 3
        assert all(ids)

    async def test_two_thousand_astral_characters_are_one_message(
        self, api: DiscordAPI, send: Send
    ) -> None:
        await send("\U0001f600" * 2000)

        assert len(api.calls) == 1

    async def test_a_later_part_of_the_answer_does_not_overwrite_the_first(
        self, api: DiscordAPI, send: Send
    ) -> None:
        await send("more", number=1)

        assert api.calls == [f"POST {WEBHOOK}"]

    async def test_a_first_part_that_is_sent_again_changes_nothing(
        self, api: DiscordAPI, send: Send
    ) -> None:
        await send()
        await send()

        assert len(api.messages) == 1

    async def test_after_fifteen_minutes_the_bot_answers_once_under_its_nonce(
        self, api: DiscordAPI, send: Send
    ) -> None:
        api.at = NOW + 900

        first = await send()
        again = await send()

        assert api.calls == [f"POST {BOT_CALL}"] * 2
        assert first == again
        assert len(api.messages) == 1
        assert (len(api.bodies[0]["nonce"]), api.bodies[0]["enforce_nonce"]) == (25, True)

    async def test_just_before_that_it_is_still_the_interaction(
        self, api: DiscordAPI, send: Send
    ) -> None:
        api.at = NOW + 899

        await send()

        assert api.calls == [f"PATCH {WEBHOOK}/messages/@original"]

    @pytest.mark.parametrize("to", [{}, {"channel_id": None}])
    async def test_with_nobody_left_to_answer_it_is_given_up(
        self, api: DiscordAPI, send: Send, to: dict[str, Any]
    ) -> None:
        api.at = NOW + 900

        with pytest.raises(Rejected, match="no bot"):
            await send(bot=bool(to), to=address(**to))
        assert not api.calls

    @pytest.mark.parametrize("trouble", ["is_token_valid", "has_heard_of_it"])
    async def test_a_token_that_fails_early_leaves_it_to_the_bot(
        self, api: DiscordAPI, send: Send, trouble: str
    ) -> None:
        setattr(api, trouble, False)
        api.at = NOW + 60

        await send()

        assert api.calls == [f"PATCH {WEBHOOK}/messages/@original", f"POST {BOT_CALL}"]

    async def test_a_reply_that_overtakes_the_acknowledgement_waits(
        self, api: DiscordAPI, send: Send
    ) -> None:
        api.has_heard_of_it = False

        with pytest.raises(Overloaded) as waits:
            await send()
        api.has_heard_of_it = True
        await send()

        assert waits.value.retry_after_s == 1.0
        assert api.messages["@original"]["content"] == "hi"

    async def test_a_deferred_answer_that_somebody_deleted_is_let_be(
        self, api: DiscordAPI, send: Send
    ) -> None:
        api.at = NOW + 60
        api.failures = [error(404, 10008)]

        with pytest.raises(Rejected):
            await send()
        assert len(api.calls) == 1

    async def test_the_exact_wait_is_that_of_the_body(self, api: DiscordAPI, send: Send) -> None:
        body = {"message": "You are being rate limited.", "retry_after": 64.57, "global": True}
        api.failures = [httpx.Response(429, headers={"Retry-After": "65"}, json=body)]

        with pytest.raises(Overloaded) as error:
            await send()
        assert error.value.retry_after_s == 64.57

    @pytest.mark.parametrize(
        ("body", "wait_s"),
        [
            (b"<html>", 9),
            (b'{"retry_after": "x"}', 9),
            (b'{"retry_after": -1}', 9),
            (b'{"retry_after": NaN}', 9),
            (b'{"retry_after": Infinity}', 3600),
        ],
    )
    async def test_an_odd_wait_is_bounded_or_that_of_the_header(
        self, api: DiscordAPI, send: Send, body: bytes, wait_s: float
    ) -> None:
        api.failures = [httpx.Response(429, headers={"Retry-After": "9"}, content=body)]

        with pytest.raises(Overloaded) as error:
            await send()
        assert error.value.retry_after_s == wait_s

    async def test_a_revoked_bot_token_is_not_tried_again(
        self, api: DiscordAPI, send: Send
    ) -> None:
        api.at = NOW + 900
        api.failures = [error(401, 0)]

        with pytest.raises(Rejected) as refusal:
            await send()
        assert BOT_TOKEN not in str(refusal.value)

    async def test_trouble_at_discord_is_tried_again(self, api: DiscordAPI, send: Send) -> None:
        api.failures = [httpx.Response(503)]

        with pytest.raises(Unavailable):
            await send()

    async def test_files_go_with_the_last_part_as_links(self, api: DiscordAPI, send: Send) -> None:
        image = Attachment(type="image", url="https://files.example/1.png", name="n" * 255)
        local = Attachment(type="file", url="file:///etc/passwd")

        await send("word " * 500, image, local, *[image] * 11)

        assert "embeds" not in api.bodies[0]
        embeds = api.bodies[-1]["embeds"]
        assert len(embeds) == 10
        assert {embed["url"] for embed in embeds} == {"https://files.example/1.png"}
        assert embeds[0]["image"] == {"url": "https://files.example/1.png"}

    async def test_a_token_stays_within_its_place_of_the_path(
        self, api: DiscordAPI, send: Send
    ) -> None:
        with pytest.raises(Rejected):
            await send(to=address(token="../../channels/1/messages?x=#"))

        there = f"/api/v10/webhooks/{APPLICATION}/..%2F..%2Fchannels%2F1%2Fmessages%3Fx%3D%23"
        assert api.calls == [f"PATCH {there}/messages/@original"]

    async def test_an_address_that_is_none_is_given_up(self, send: Send) -> None:
        with pytest.raises(Rejected):
            await send(to={"token": 7})


class TestEdits:
    @pytest.mark.parametrize(
        ("late_s", "expected"),
        [(0, f"PATCH {WEBHOOK}/messages/1"), (900, f"PATCH {BOT_CALL}/1")],
    )
    async def test_a_sent_message_is_rewritten(
        self,
        api: DiscordAPI,
        speaking: Callable[..., Discord],
        late_s: float,
        expected: str,
    ) -> None:
        api.at = NOW + late_s
        api.messages["1"] = {"content": "before"}

        await speaking().edit("1", parts("after")[0], address(), deadline=Deadline.after(5))

        assert api.calls == [expected]
        assert api.messages["1"]["content"] == "after"


def test_ids_of_the_samples_are_those_of_their_time(adapter: Discord) -> None:
    assert said(adapter, id=snowflake(NOW)).timestamp == int(NOW)
