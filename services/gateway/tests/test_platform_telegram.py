from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from clawdbot.gateway.adapters.platforms.api import APIAnswer
from clawdbot.gateway.adapters.platforms.interface import PlatformMessage
from clawdbot.gateway.adapters.platforms.telegram import Telegram
from clawdbot.gateway.adapters.platforms.telegram_errors import judge
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import split
from clawdbot.runtime.config import Config, ConfigError
from clawdbot.runtime.logging import configure_logging
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
from clawdbot.schema.messages import OutboundMessage
from services.gateway.tests.platforms.samples import NOW, Samples, adapter_of
from services.gateway.tests.platforms.telegram import (
    GROUP,
    HEADER,
    SAMPLES,
    SECRET,
    TOKEN,
    message,
    request,
    said,
    update,
)

OTHER_SECRET = "the_secret_before_this_one"
HERE = {"chat_id": 1111, "message_id": 1365, "topic_id": None}
TOPIC = {"chat_id": GROUP["id"], "message_id": 1365, "topic_id": 42}
API = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Telegram:
    built = adapter_of(SAMPLES, tmp_path_factory.mktemp("secrets"))
    assert isinstance(built, Telegram)
    return built


def with_settings(**settings: object) -> Samples:
    return replace(SAMPLES, settings=settings)


def with_secrets(**secrets: str) -> Samples:
    values = {what: value.encode() for what, value in secrets.items()}
    return replace(SAMPLES, secrets={**SAMPLES.secrets, **values})


def heard(adapter: Telegram, body: bytes) -> PlatformMessage:
    (found,) = adapter.read(adapter.verify(request(body), NOW)).messages
    return found


def is_ignored(adapter: Telegram, body: bytes) -> bool:
    return not adapter.read(adapter.verify(request(body), NOW)).messages


class TestTheSecretToken:
    def test_it_opens_the_door_in_the_header_alone(self, adapter: Telegram) -> None:
        raw = request(b"{}")

        adapter.admit(replace(raw, body=b""))

        with pytest.raises(Unauthenticated):
            adapter.admit(replace(raw, headers=(), query=((HEADER, SECRET),)))

    def test_each_of_two_secrets_will_do(self, tmp_path: Path) -> None:
        adapter = adapter_of(with_secrets(webhook_secret=f"{SECRET}\n{OTHER_SECRET}"), tmp_path)

        for secret in (SECRET, OTHER_SECRET):
            adapter.verify(request(b"{}", secret=secret), NOW)

    @given(st.one_of(st.binary(max_size=300), st.text(max_size=40).map(str.encode)))
    def test_no_other_value_will_do(self, adapter: Telegram, value: bytes) -> None:
        raw = replace(request(b"{}"), headers=((HEADER.encode(), value),))

        for check in (adapter.admit, lambda raw: adapter.verify(raw, NOW)):
            with pytest.raises(Unauthenticated):
                check(raw)

    @given(st.data())
    def test_no_mutation_of_it_will_do(self, adapter: Telegram, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(SECRET) - 1))
        other = data.draw(st.sampled_from(["", "x", "A", "_", "\x00", "\xe9"]))
        changed = SECRET[:place] + other + SECRET[place + 1 :]

        if changed != SECRET:
            with pytest.raises(Unauthenticated):
                adapter.verify(request(b"{}", secret=changed), NOW)

    @pytest.mark.parametrize("secret", ["x" * 257, "sixteen characters", "sixteen.characters"])
    def test_what_set_webhook_would_refuse_is_refused_at_start(
        self, tmp_path: Path, secret: str
    ) -> None:
        with pytest.raises((ValueError, ConfigError), match="webhook_secret") as error:
            adapter_of(with_secrets(webhook_secret=secret), tmp_path)

        assert secret not in str(error.value)

    @pytest.mark.parametrize(
        "token", [TOKEN.replace(":", ""), f"bot{TOKEN}", f"{TOKEN}/../x", f"{TOKEN}?a=b"]
    )
    def test_a_token_that_is_none_is_refused_at_start(self, tmp_path: Path, token: str) -> None:
        with pytest.raises(ValueError, match="bot_token") as error:
            adapter_of(with_secrets(bot_token=token), tmp_path)

        assert token not in str(error.value)


class TestWhatIsHeard:
    def test_a_private_message(self, adapter: Telegram) -> None:
        found = heard(adapter, message())

        assert (found.event_id, found.sender_id, found.content) == ("10000", "1111", "hello")
        assert (found.place, found.thread_id) == (("1111", ""), None)
        assert (found.timestamp, found.address) == (1_700_000_000, HERE)
        assert not found.holds_token

    def test_a_message_in_a_topic_of_a_group(self, adapter: Telegram) -> None:
        found = heard(
            adapter, message(chat=GROUP, message_thread_id=42, is_topic_message=True, text="hi")
        )

        assert (found.place, found.thread_id) == (("-1001557912345", "42"), "42")
        assert found.address == TOPIC

    def test_a_reply_in_a_group_without_topics_has_no_thread(self, adapter: Telegram) -> None:
        found = heard(adapter, message(chat=GROUP, message_thread_id=1300))

        assert (found.place, found.thread_id) == (("-1001557912345", ""), None)
        assert found.address["topic_id"] is None

    @pytest.mark.parametrize(
        ("text", "content"),
        [
            ("/start@EnginesBot", "/start"),
            ("/start@enginesbot now, me@home.example", "/start now, me@home.example"),
            ("/start", "/start"),
            ("ask /start@EnginesBot", "ask /start@EnginesBot"),
            ("@EnginesBot hello", "@EnginesBot hello"),
            ("/usr/bin@home", "/usr/bin@home"),
        ],
    )
    @pytest.mark.parametrize("username", ["", "@EnginesBot"])
    def test_a_command_loses_the_name_of_the_bot(
        self, tmp_path: Path, text: str, content: str, username: str
    ) -> None:
        adapter = adapter_of(with_settings(bot_username=username), tmp_path)

        assert heard(adapter, message(text=text, chat=GROUP)).content == content

    def test_a_command_to_another_bot_is_left_to_it(self, tmp_path: Path) -> None:
        adapter = adapter_of(with_settings(bot_username="EnginesBot"), tmp_path)

        assert is_ignored(adapter, message(text="/start@EnginesBotTwo", chat=GROUP))

    def test_channel_posts_are_heard_where_they_are_wanted(self, tmp_path: Path) -> None:
        channel = {"id": -1002, "type": "channel", "title": "News"}
        body = update("channel_post", said(**{"from": None}, chat=channel, sender_chat=channel))

        found = heard(adapter_of(with_settings(channel_posts=True), tmp_path), body)

        assert (found.sender_id, found.place) == ("-1002", ("-1002", ""))

    def test_edits_are_ignored_where_channel_posts_are_wanted(self, tmp_path: Path) -> None:
        adapter = adapter_of(with_settings(channel_posts=True), tmp_path)

        for kind in ("edited_message", "edited_channel_post"):
            assert is_ignored(adapter, update(kind))


class TestFiles:
    def test_of_a_photo_the_largest_size_and_its_caption(self, adapter: Telegram) -> None:
        sizes = [
            {"file_id": name, "file_unique_id": name, "width": width, "height": width}
            for name, width in (("small", 90), ("large", 1280), ("middle", 320))
        ]

        found = heard(adapter, message(text=None, caption="look", photo=sizes))

        (photo,) = found.attachments
        assert found.content == "look"
        assert (photo.type, photo.url, photo.media_type) == (
            "image",
            "telegram:large",
            "image/jpeg",
        )

    @pytest.mark.parametrize(
        ("field", "kind"),
        [("document", "file"), ("voice", "audio"), ("audio", "audio"), ("video", "video")],
    )
    def test_a_file_without_words_is_a_message(
        self, adapter: Telegram, field: str, kind: str
    ) -> None:
        value = {"file_id": "BQAD-1_x", "file_name": "n" * 300 + "\ud800", "mime_type": "a/b"}

        (file,) = heard(adapter, message(text=None, **{field: value})).attachments

        assert (file.type, file.url, file.media_type) == (kind, "telegram:BQAD-1_x", "a/b")
        assert file.name == "n" * 255

    def test_an_animation_is_one_file(self, adapter: Telegram) -> None:
        value = {"file_id": "gif", "mime_type": "video/mp4"}

        (file,) = heard(adapter, message(text=None, animation=value, document=value)).attachments

        assert (file.type, file.url) == ("video", "telegram:gif")

    def test_no_url_holds_the_token(self, adapter: Telegram) -> None:
        found = heard(adapter, message(document={"file_id": "x"}))

        assert TOKEN.split(":")[1] not in repr(found)


class TestAnyUpdate:
    @pytest.mark.parametrize(
        "body",
        [
            message(message_id="1"),
            message(chat={"id": 10**20}),
            message(chat=None),
            message(date="today"),
            message(**{"from": {"id": 1}}),
            message(text=7),
            message(document={}),
            message(document={"file_id": "a\nb"}),
            update(update_id=-1),
            update("callback_query", {"id": 1}),
            b'{"message": {}}',
        ],
    )
    def test_a_wrong_field_is_refused(self, adapter: Telegram, body: bytes) -> None:
        with pytest.raises(InvalidMessage):
            adapter.read(adapter.verify(request(body), NOW))

    @pytest.mark.slow
    @given(st.data())
    def test_whatever_stands_in_a_field_it_is_read_or_refused(
        self, adapter: Telegram, data: st.DataObject
    ) -> None:
        names = [*said(), "photo", "document", "voice", "caption", "message_thread_id"]
        scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
        keys = st.sampled_from(["id", "is_bot", "file_id", "width"])
        values = st.recursive(
            scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=6
        )
        fields = data.draw(st.dictionaries(st.sampled_from(names), values))
        kind = data.draw(
            st.sampled_from(["message", "channel_post", "callback_query", "update_id"])
        )

        try:
            adapter.read(adapter.verify(request(update(kind, {**said(), **fields})), NOW))
        except (BadPayload, InvalidMessage):
            return

    @given(st.binary(max_size=80))
    def test_any_bytes_are_read_or_refused(self, adapter: Telegram, body: bytes) -> None:
        with pytest.raises((BadPayload, InvalidMessage)):
            adapter.read(adapter.verify(request(body), NOW))


def part(text: str, index: int = 0, count: int = 1) -> ReplyPart:
    reply = OutboundMessage(
        channel=Channel("telegram"),
        tenant=Tenant("default"),
        conversation_id=ConversationId("conversation"),
        message_id=MessageId("message"),
        content=text,
        created_at_ms=1_700_000_000_500,
    )
    return ReplyPart(reply, text, index, count, "thekeyofthispart")


def failed(code: int, description: str, **parameters: object) -> dict[str, object]:
    told = {"ok": False, "error_code": code, "description": description}
    return {**told, "parameters": parameters} if parameters else told


class BotAPI:
    """Plays api.telegram.org with its real limits."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.moved: dict[int, int] = {}
        self.next_answer: httpx.Response | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        root, _, method = request.url.path.rpartition("/")
        body = json.loads(request.content)
        self.calls.append((method, body))
        if root != f"/bot{TOKEN}":
            return self._refuse(failed(401, "Unauthorized"))
        if self.next_answer is not None:
            return self.next_answer
        if body["chat_id"] in self.moved:
            text = "Bad Request: group chat was upgraded to a supergroup chat"
            return self._refuse(failed(400, text, migrate_to_chat_id=self.moved[body["chat_id"]]))
        if "text" in body and len(body["text"].encode("utf-16-le")) // 2 > 4096:
            return self._refuse(failed(400, "Bad Request: message is too long"))
        if "text" in body and not body["text"].strip():
            return self._refuse(failed(400, "Bad Request: message text is empty"))
        return httpx.Response(200, json={"ok": True, "result": {"message_id": 1366}})

    def _refuse(self, told: dict[str, Any]) -> httpx.Response:
        return httpx.Response(told["error_code"], json=told)

    def answers(self, status: int, told: object) -> BotAPI:
        self.next_answer = httpx.Response(status, json=told)
        return self


async def with_api(tmp_path: Path, api: API, samples: Samples = SAMPLES) -> Telegram:
    client = httpx.AsyncClient(transport=httpx.MockTransport(api))
    adapter = adapter_of(samples, tmp_path, client)
    assert isinstance(adapter, Telegram)
    return adapter


async def send(
    tmp_path: Path, api: API, address: dict[str, Any] = HERE, reply: ReplyPart | None = None
) -> str | None:
    adapter = await with_api(tmp_path, api)
    return await adapter.send(reply or part("hi there"), address, deadline=Deadline.after(5))


class TestReplies:
    async def test_the_first_part_quotes_the_message(self, tmp_path: Path) -> None:
        api = BotAPI()

        sent_id = await send(tmp_path, api)

        assert sent_id == "1366"
        assert api.calls == [
            (
                "sendMessage",
                {
                    "chat_id": 1111,
                    "text": "hi there",
                    "link_preview_options": {"is_disabled": True},
                    "reply_parameters": {"message_id": 1365, "allow_sending_without_reply": True},
                },
            )
        ]

    async def test_later_parts_only_go_to_the_same_topic(self, tmp_path: Path) -> None:
        api = BotAPI()

        await send(tmp_path, api, TOPIC, part("more", index=1, count=2))

        ((_, body),) = api.calls
        assert (body["chat_id"], body["message_thread_id"]) == (GROUP["id"], 42)
        assert "reply_parameters" not in body

    @pytest.mark.parametrize("text", ["\U0001f600" * 5000, "a" * 9000, "\u4f60\u597d " * 4000])
    async def test_every_part_of_a_long_reply_is_taken(self, tmp_path: Path, text: str) -> None:
        api = BotAPI()
        parts = split(text, Telegram.limits.text)

        for index, piece in enumerate(parts):
            await send(tmp_path, api, HERE, part(piece, index, len(parts)))

        assert len(api.calls) == len(parts) > 1

    async def test_a_text_beyond_the_limit_is_rejected(self, tmp_path: Path) -> None:
        with pytest.raises(Rejected):
            await send(tmp_path, BotAPI(), HERE, part("\U0001f600" * 2049))

    async def test_a_group_that_moved_is_followed_once(self, tmp_path: Path) -> None:
        api = BotAPI()
        api.moved = {-5: -1005}

        await send(tmp_path, api, {**HERE, "chat_id": -5})

        assert [body["chat_id"] for _, body in api.calls] == [-5, -1005]
        # Its id means another message in the supergroup.
        assert "reply_parameters" not in api.calls[1][1]

    async def test_a_group_that_moves_on_and_on_is_not_followed(self, tmp_path: Path) -> None:
        api = BotAPI()
        api.moved = {-5: -6, -6: -5}

        with pytest.raises(Rejected):
            await send(tmp_path, api, {**HERE, "chat_id": -5})

        assert len(api.calls) == 2

    @pytest.mark.parametrize("address", [{}, {**HERE, "chat_id": "me"}, {**HERE, "topic_id": "x"}])
    async def test_an_address_that_is_none_is_rejected(self, tmp_path: Path, address) -> None:
        with pytest.raises(Rejected):
            await send(tmp_path, BotAPI(), address)

    async def test_a_server_of_ones_own_can_stand_in(self, tmp_path: Path) -> None:
        seen: list[str] = []

        def play(request: httpx.Request) -> httpx.Response:
            seen.append(str(request.url))
            return httpx.Response(200, json={"ok": True, "result": {}})

        adapter = await with_api(tmp_path, play, with_settings(api_base="http://bots.internal/"))
        sent_id = await adapter.send(part("hi"), HERE, deadline=Deadline.after(5))

        assert (seen, sent_id) == ([f"http://bots.internal/bot{TOKEN}/sendMessage"], None)


BLOCKED = failed(403, "Forbidden: bot was blocked by the user")
WAIT = failed(429, "Too Many Requests: retry after 17", retry_after=17)


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "told", "expected", "wait_s"),
        [
            (429, WAIT, Overloaded, 17),
            (200, WAIT, Overloaded, 17),
            (429, failed(429, "", retry_after=10**30), Overloaded, 3600),
            (429, failed(429, "", retry_after="soon"), Overloaded, 1),
            (403, BLOCKED, Rejected, None),
            (200, BLOCKED, Rejected, None),
            (401, failed(401, "Unauthorized"), Rejected, None),
            (404, failed(404, "Not Found"), Rejected, None),
            (400, failed(400, "Bad Request: chat not found"), Rejected, None),
            (400, failed(400, "", migrate_to_chat_id="x"), Rejected, None),
            (500, failed(500, "Internal Server Error"), Unavailable, None),
            (502, "no object", Unavailable, None),
            (200, failed(500, "Internal Server Error"), Unavailable, None),
            (200, {}, Unavailable, None),
            (200, {"ok": "true"}, Unavailable, None),
            (200, [], Unavailable, None),
        ],
    )
    async def test_an_error_says_whether_to_try_again(
        self,
        tmp_path: Path,
        status: int,
        told: object,
        expected: type[ClawdbotError],
        wait_s: float | None,
    ) -> None:
        with pytest.raises(expected) as error:
            await send(tmp_path, BotAPI().answers(status, told))

        assert error.value.retry_after_s == wait_s

    async def test_a_revoked_token_is_rejected(self, tmp_path: Path) -> None:
        revoked = with_secrets(bot_token="123456:an-other-token-that-was-revoked-by-botfather")
        adapter = await with_api(tmp_path, BotAPI(), revoked)

        with pytest.raises(Rejected):
            await adapter.send(part("hi"), HERE, deadline=Deadline.after(5))

    @given(
        st.dictionaries(
            st.sampled_from(["ok", "parameters", "error_code", "description"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                lambda inner: st.dictionaries(
                    st.sampled_from(["retry_after", "migrate_to_chat_id"]), inner
                ),
            ),
        )
    )
    def test_any_answer_is_judged(self, told: dict[str, object]) -> None:
        error = judge(APIAnswer(200, httpx.Headers(), told))

        assert error is None or error.retryable or isinstance(error, Rejected)


class TestEditingAndTyping:
    async def test_an_edit_replaces_the_text(self, tmp_path: Path) -> None:
        api = BotAPI()
        adapter = await with_api(tmp_path, api)

        await adapter.edit("1366", part("better"), TOPIC, deadline=Deadline.after(5))

        ((method, body),) = api.calls
        assert method == "editMessageText"
        assert (body["chat_id"], body["message_id"], body["text"]) == (GROUP["id"], 1366, "better")

    async def test_the_same_text_again_is_no_error(self, tmp_path: Path) -> None:
        text = (
            "Bad Request: message is not modified: specified new message content and reply markup "
            "are exactly the same as a current content and reply markup of the message"
        )
        adapter = await with_api(tmp_path, BotAPI().answers(400, failed(400, text)))

        await adapter.edit("1366", part("better"), HERE, deadline=Deadline.after(5))

    @pytest.mark.parametrize("sent_id", ["", "x", "-1", "\uff11", "1" * 40])
    async def test_an_id_that_is_none_is_rejected(self, tmp_path: Path, sent_id: str) -> None:
        adapter = await with_api(tmp_path, BotAPI())

        with pytest.raises(Rejected):
            await adapter.edit(sent_id, part("better"), HERE, deadline=Deadline.after(5))

    async def test_another_failed_edit_is_an_error(self, tmp_path: Path) -> None:
        told = failed(400, "Bad Request: message to edit not found")
        adapter = await with_api(tmp_path, BotAPI().answers(400, told))

        with pytest.raises(Rejected):
            await adapter.edit("1366", part("better"), HERE, deadline=Deadline.after(5))

    async def test_typing_is_shown_in_the_topic(self, tmp_path: Path) -> None:
        api = BotAPI()
        adapter = await with_api(tmp_path, api)

        await adapter.show_typing(TOPIC, deadline=Deadline.after(5))

        body = {"chat_id": GROUP["id"], "message_thread_id": 42, "action": "typing"}
        assert api.calls == [("sendChatAction", body)]


@contextmanager
def everything_logged() -> Iterator[list[str]]:
    """Give what a service logs in debug mode, formatted as it would be."""
    root = logging.getLogger()
    clients = [logging.getLogger(name) for name in ("httpx", "httpcore")]
    before, levels = root.handlers[:], [(logger, logger.level) for logger in (root, *clients)]
    lines: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(root.handlers[0].format(record) + repr(vars(record)))

    for client in clients:
        client.setLevel(logging.NOTSET)
    configure_logging("gateway", Config.model_validate({"app": {"debug": True}}))
    root.addHandler(Keeping())
    try:
        yield lines
    finally:
        root.handlers[:] = before
        for logger, level in levels:
            logger.setLevel(level)


class TestTheTokenStaysInTheURL:
    @pytest.mark.parametrize("failure", [None, httpx.ConnectError, httpx.InvalidURL])
    async def test_no_log_line_holds_it_even_in_debug_mode(self, tmp_path: Path, failure) -> None:
        def play(request: httpx.Request) -> httpx.Response:
            if failure is not None:
                raise failure(f"cannot reach {request.url}")
            return BotAPI()(request)

        with everything_logged() as lines:
            logging.getLogger("clawdbot").debug("this is logged")
            try:
                await send(tmp_path, play)
            except Unavailable:
                logging.getLogger("clawdbot").exception("and this")

        assert any("this is logged" in line for line in lines)
        assert not any(TOKEN.split(":")[1] in line for line in lines)

    async def test_the_http_client_would_have_logged_it(self, tmp_path: Path, caplog) -> None:
        with caplog.at_level(logging.INFO, logger="httpx"):
            await send(tmp_path, BotAPI())

        assert TOKEN in caplog.text

    async def test_no_error_holds_it(self, tmp_path: Path) -> None:
        def fail(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError(f"cannot reach {request.url}", request=request)

        with pytest.raises(Unavailable) as error:
            await send(tmp_path, fail)

        assert error.value.__cause__ is None
        assert error.value.__context__ is None
        assert TOKEN not in repr(error.value)

    async def test_no_span_holds_it(self, tmp_path: Path) -> None:
        exporter = InMemorySpanExporter()
        trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))  # type: ignore[attr-defined]  # the SDK's, set up for this directory
        sampled = trace.SpanContext(1, 1, is_remote=True, trace_flags=trace.TraceFlags(1))

        with trace.use_span(trace.NonRecordingSpan(sampled)):
            await send(tmp_path, BotAPI())

        shown = [span.to_json() for span in exporter.get_finished_spans()]
        assert any("POST telegram" in span for span in shown)
        assert not any(TOKEN.split(":")[1] in span for span in shown)

    def test_no_repr_holds_a_secret(self, adapter: Telegram) -> None:
        shown = repr(adapter) + str(vars(adapter)["_api"]) + repr(request(b"{}"))

        assert TOKEN not in shown
        assert SECRET not in shown


class TestAgainstPythonTelegramBot:
    """The most used library for Python, both ways; Telegram has none of its own."""

    @pytest.fixture
    def library(self):
        return pytest.importorskip("telegram")

    def test_it_reads_our_samples_as_we_do(self, library, adapter: Telegram) -> None:
        body = message(chat=GROUP, message_thread_id=42, is_topic_message=True)

        theirs = library.Update.de_json(json.loads(body), None)
        ours = heard(adapter, body)

        assert str(theirs.update_id) == ours.event_id
        assert str(theirs.effective_user.id) == ours.sender_id
        assert theirs.message.text == ours.content
        assert theirs.message.message_thread_id == ours.address["topic_id"]
        assert int(theirs.message.date.timestamp()) == ours.timestamp

    def test_we_read_what_it_writes(self, library, adapter: Telegram) -> None:
        photo = (library.PhotoSize("small", "s", 1, 1), library.PhotoSize("large", "l", 9, 9))
        theirs = library.Message(
            message_id=7,
            date=None,
            chat=library.Chat(-4, "group"),
            from_user=library.User(5, "Ada", is_bot=False),
            caption="look",
            photo=photo,
        )
        values = json.loads(library.Update(3, message=theirs).to_json())
        values["message"]["date"] = 1_700_000_000

        found = heard(adapter, json.dumps(values).encode())

        assert (found.event_id, found.sender_id, found.content) == ("3", "5", "look")
        assert [file.url for file in found.attachments] == ["telegram:large"]

    async def test_it_knows_every_parameter_that_we_send(self, library, tmp_path: Path) -> None:
        api = BotAPI()
        adapter = await with_api(tmp_path, api)
        await adapter.send(part("hi"), TOPIC, deadline=Deadline.after(5))
        await adapter.edit("1366", part("better"), TOPIC, deadline=Deadline.after(5))
        await adapter.show_typing(TOPIC, deadline=Deadline.after(5))

        for method, body in api.calls:
            known = inspect.signature(getattr(library.Bot, method)).parameters
            assert set(body) <= set(known)
        body = api.calls[0][1]
        quoted = library.ReplyParameters.de_json(body["reply_parameters"], None)
        assert (quoted.message_id, quoted.api_kwargs) == (1365, {})
        preview = library.LinkPreviewOptions.de_json(body["link_preview_options"], None)
        assert (preview.is_disabled, preview.api_kwargs) == (True, {})
        assert len(part("x").text) <= library.constants.MessageLimit.MAX_TEXT_LENGTH == 4096
