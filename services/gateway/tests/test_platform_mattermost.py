from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.platforms.interface import PlatformMessage
from clawdbot.gateway.adapters.platforms.mattermost import Mattermost
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import split
from clawdbot.runtime.config import ConfigError
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import InvalidMessage, Rejected, Unauthenticated
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import OutboundMessage
from services.gateway.tests.platforms.mattermost import (
    BOT_TOKEN,
    CHANNEL,
    FILE,
    POST,
    SAMPLES,
    SENT,
    TOKEN,
    USER,
    command,
    form,
    mac,
    message,
    payload,
    pressed,
    request,
)
from services.gateway.tests.platforms.samples import NOW, adapter_of

ROOT = "r" * 26
APPROVE = "/approve K7Q2M9XW4T"
HERE = {"channel_id": CHANNEL, "post_id": POST}
HOOK = {**HERE, "post_id": "", "hook": "h" * 26}


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Mattermost:
    built = adapter_of(SAMPLES, tmp_path_factory.mktemp("secrets"))
    assert isinstance(built, Mattermost)
    return built


def heard(adapter: Mattermost, body: bytes) -> PlatformMessage:
    (found,) = adapter.read(adapter.verify(request(body), NOW)).messages
    return found


class TestWhoMayCome:
    @pytest.mark.parametrize("body", [message(), form(), command()])
    def test_whoever_has_the_token(self, adapter: Mattermost, body: bytes) -> None:
        adapter.verify(request(body), NOW)

        with pytest.raises(Unauthenticated):
            adapter.verify(request(body.replace(TOKEN, TOKEN[:-1] + b"x")), NOW)

    def test_each_webhook_and_command_has_a_token_of_its_own(self, tmp_path: Path) -> None:
        other = b"o" * 26
        secrets = {**SAMPLES.secrets, "token": TOKEN + b"\n" + other}
        adapter = adapter_of(replace(SAMPLES, secrets=secrets), tmp_path)

        for token in (TOKEN, other):
            adapter.verify(request(message(token=token.decode())), NOW)

    @given(st.one_of(st.text(max_size=40), st.none(), st.integers(), st.lists(st.text())))
    def test_no_other_token_will_do(self, adapter: Mattermost, token: object) -> None:
        with pytest.raises(Unauthenticated):
            adapter.verify(request(message(token=token)), NOW)

    @given(st.binary(max_size=200))
    def test_bytes_without_a_token_are_nobodys(self, adapter: Mattermost, body: bytes) -> None:
        with pytest.raises(Unauthenticated):
            adapter.verify(request(body), NOW)

    def test_the_tokens_of_a_form_are_not_counted_twice(self, adapter: Mattermost) -> None:
        with pytest.raises(Unauthenticated):
            adapter.verify(request(form() + b"&token=" + TOKEN), NOW)

    def test_a_press_needs_the_mac_of_its_own_answer_and_place(self, adapter: Mattermost) -> None:
        good = {"value": APPROVE, "post_id": POST, "mac": mac(APPROVE)}
        adapter.verify(request(pressed(APPROVE, context=good)), NOW)

        for wrong in (
            {**good, "value": "/approve OTHER"},
            {**good, "post_id": ROOT},
            {**good, "mac": mac(APPROVE, key=TOKEN)},
            {**good, "mac": mac(APPROVE, channel=ROOT)},
            {**good, "mac": ""},
            {"value": APPROVE},
            {},
        ):
            with pytest.raises(Unauthenticated):
                adapter.verify(request(pressed(APPROVE, context=wrong)), NOW)
        with pytest.raises(Unauthenticated):
            adapter.verify(request(pressed(APPROVE, channel_id=ROOT)), NOW)

    def test_a_token_does_not_stand_in_for_the_mac(self, adapter: Mattermost) -> None:
        with pytest.raises(Unauthenticated):
            adapter.verify(request(pressed(APPROVE, token=TOKEN.decode(), context={})), NOW)


class TestWhatIsHeard:
    @pytest.mark.parametrize("body", [message(), form()])
    def test_a_post_by_json_or_form(self, adapter: Mattermost, body: bytes) -> None:
        found = heard(adapter, body)

        assert (found.event_id, found.sender_id, found.content) == (POST, USER, "hello")
        assert (found.place, found.thread_id) == ((CHANNEL, ""), None)
        assert (found.timestamp, found.address, found.in_group) == (1_699_999_990, HERE, True)

    @pytest.mark.parametrize(
        ("text", "word", "content"),
        [
            ("claw: what is this?", "claw", "what is this?"),
            ("claw /approve K7Q2", "claw", "/approve K7Q2"),
            ("claw", "claw", "claw"),
            ("just talking", "", "just talking"),
            ("Claw hello", "claw", "Claw hello"),
        ],
    )
    def test_the_word_that_called_us_is_left_out(
        self, adapter: Mattermost, text: str, word: str, content: str
    ) -> None:
        assert heard(adapter, message(text=text, trigger_word=word)).content == content

    def test_files_are_named_by_their_ids(self, adapter: Mattermost) -> None:
        found = heard(adapter, message(text="", file_ids=f"{FILE},../../x"))

        assert [file.url for file in found.attachments] == [f"mattermost:{FILE}"]

    def test_a_command_is_answered_to_its_sender_alone(self, adapter: Mattermost) -> None:
        found = heard(adapter, command())

        assert (found.content, found.place) == ("hello", (CHANNEL, "", USER))
        assert (found.address, found.holds_token, found.in_group) == (HOOK, True, False)
        assert len(found.event_id) <= 256

    def test_a_command_may_be_answered_to_the_channel(self, tmp_path: Path) -> None:
        settings = {**SAMPLES.settings, "command_replies": "in_channel"}
        found = heard(adapter_of(replace(SAMPLES, settings=settings), tmp_path), command())

        assert (found.place, found.in_group, found.holds_token) == ((CHANNEL, ""), True, False)
        assert found.address == {**HERE, "post_id": ""}

    @pytest.mark.parametrize(("name", "said"), [("/approve", "/approve K7"), ("/claw", "K7")])
    def test_control_words_keep_their_name(self, adapter: Mattermost, name: str, said: str) -> None:
        assert heard(adapter, command(command=name, text="K7")).content == said

    @pytest.mark.parametrize(
        "url", ["", "https://evil.example/", "file:///hooks/commands/x", f"https://a/?{'h' * 26}"]
    )
    def test_an_address_for_answers_that_is_none_is_refused(
        self, adapter: Mattermost, url: str
    ) -> None:
        with pytest.raises(InvalidMessage, match="response_url"):
            heard(adapter, command(response_url=url))

    def test_nothing_is_repeated_so_the_sender_is_told(self, adapter: Mattermost) -> None:
        told = [
            adapter.read(adapter.verify(request(body), NOW)).on_failure
            for body in (message(), command(), pressed(APPROVE))
        ]

        assert all(answer and answer.status == 200 and b"again" in answer.body for answer in told)

    @given(st.data())
    def test_whatever_stands_in_a_field_it_is_read_or_refused(
        self, adapter: Mattermost, data: st.DataObject
    ) -> None:
        values = st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
            max_leaves=5,
        )
        names = st.sampled_from([*payload(), "context", "command", "response_url", "trigger_id"])
        fields = data.draw(st.dictionaries(names, values))
        body = json.dumps({**payload(), **fields, "token": TOKEN.decode()}).encode()

        try:
            adapter.read(adapter.verify(request(body), NOW))
        except (BadPayload, InvalidMessage, Unauthenticated):
            return


def part(text: str = "hi", index: int = 0, count: int = 1) -> ReplyPart:
    reply = OutboundMessage(
        channel=Channel("mattermost"),
        tenant=Tenant("default"),
        conversation_id=ConversationId("conversation"),
        message_id=MessageId("message"),
        content=text,
        created_at_ms=1_700_000_000_500,
    )
    return ReplyPart(reply, text, index, count, "thekeyofthispart")


class Server:
    """Plays a server with its real limits: threads have one root, keys are believed, texts end."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.answers = {POST}
        """Posts that are answers themselves, below `ROOT`."""
        self.seen: dict[str, str] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        path = request.url.path
        self.calls.append((request.method, path, body))
        if path.startswith("/hooks/commands/"):
            return httpx.Response(200, text="ok")
        if request.headers.get("authorization") != f"Bearer {BOT_TOKEN.decode()}":
            return self._refuse(401, "api.context.session_expired.app_error")
        if request.method == "GET":
            return httpx.Response(200, json={"id": POST, "root_id": ROOT})
        if path == "/api/v4/posts" and body["root_id"] in self.answers:
            return self._refuse(400, "api.post.create_post.root_id.app_error")
        if len(body.get("message", "")) > 16_383:
            return self._refuse(400, "model.post.is_valid.message_length.app_error")
        sent = self.seen.setdefault(body.get("pending_post_id", ""), SENT)
        return httpx.Response(201, json={"id": sent, "root_id": body.get("root_id", "")})

    def _refuse(self, status: int, name: str) -> httpx.Response:
        return httpx.Response(status, json={"id": name, "status_code": status, "message": "no"})


Connected = tuple[Mattermost, Server]


@pytest.fixture
def connected(tmp_path: Path) -> Connected:
    server = Server()
    client = httpx.AsyncClient(transport=httpx.MockTransport(server))
    built = adapter_of(SAMPLES, tmp_path, client)
    assert isinstance(built, Mattermost)
    return built, server


class TestWhatIsSent:
    async def test_a_post_in_the_thread(self, connected: Connected) -> None:
        adapter, server = connected
        server.answers.clear()

        sent_id = await adapter.send(part(), HERE, deadline=Deadline.after(5))

        ((method, path, body),) = server.calls
        assert (sent_id, method, path) == (SENT, "POST", "/api/v4/posts")
        assert (body["root_id"], body["message"]) == (POST, "hi")
        assert body["pending_post_id"] == "thekeyofthispart"

    async def test_an_answer_to_an_answer_goes_to_its_root(self, connected: Connected) -> None:
        adapter, server = connected

        sent_id = await adapter.send(part(), HERE, deadline=Deadline.after(5))

        assert sent_id == SENT
        assert [call[:2] for call in server.calls] == [
            ("POST", "/api/v4/posts"),
            ("GET", f"/api/v4/posts/{POST}"),
            ("POST", "/api/v4/posts"),
        ]
        assert server.calls[-1][2]["root_id"] == ROOT

    async def test_a_command_is_answered_at_the_server_that_is_configured(
        self, connected: Connected
    ) -> None:
        adapter, server = connected

        assert await adapter.send(part(), HOOK, deadline=Deadline.after(5)) is None

        told = {"response_type": "ephemeral", "text": "hi"}
        assert server.calls == [("POST", f"/hooks/commands/{'h' * 26}", told)]
        assert not adapter.traits(part(), HOOK).edits

    async def test_a_command_takes_five_answers(self, connected: Connected) -> None:
        adapter, server = connected

        with pytest.raises(Rejected):
            await adapter.send(part("hi", 5, 6), HOOK, deadline=Deadline.after(5))

        assert server.calls == []

    async def test_an_edit_is_a_patch(self, connected: Connected) -> None:
        adapter, server = connected

        await adapter.edit(SENT, part("better"), HERE, deadline=Deadline.after(5))

        assert server.calls == [("PUT", f"/api/v4/posts/{SENT}/patch", {"message": "better"})]

    async def test_parts_of_any_text_fit(self, connected: Connected) -> None:
        adapter, server = connected
        server.answers.clear()

        for text in split("word 😀 " * 8000, adapter.limits.text):
            await adapter.send(part(text), HERE, deadline=Deadline.after(5))

        assert len(server.calls) > 3

    async def test_a_file_is_fetched_with_our_token_from_our_server(
        self, connected: Connected
    ) -> None:
        adapter, _ = connected
        (file,) = heard(adapter, message(file_ids=FILE)).attachments

        found = await adapter.locate(file, HERE, deadline=Deadline.after(5))

        assert found.url == f"https://chat.example/api/v4/files/{FILE}"
        assert found.headers["Authorization"] == f"Bearer {BOT_TOKEN.decode()}"
        assert found.hosts == {"chat.example"}
        with pytest.raises(Rejected):
            other = file.model_copy(update={"url": "mattermost:../users/me"})
            await adapter.locate(other, HERE, deadline=Deadline.after(5))


class TestSettings:
    @pytest.mark.parametrize("missing", ["api_base", "bot_username"])
    def test_the_server_and_the_bots_name_are_needed(self, tmp_path: Path, missing: str) -> None:
        settings = {name: value for name, value in SAMPLES.settings.items() if name != missing}

        with pytest.raises(ConfigError, match=missing):
            adapter_of(replace(SAMPLES, settings=settings), tmp_path)
