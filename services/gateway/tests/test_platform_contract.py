"""What every installed platform has to do; its traffic is in `platforms/<name>.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

import httpx
import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from clawdbot.gateway.adapters.platforms.addresses import SealedAddresses
from clawdbot.gateway.adapters.platforms.connections import Connection, PlatformSender
from clawdbot.gateway.adapters.platforms.registry import load, names
from clawdbot.gateway.adapters.platforms.requests import RawRequest
from clawdbot.gateway.domain.deliveries import AnswerLost, SendTraits
from clawdbot.gateway.domain.messages import Envelope, ReplyPart, Submission
from clawdbot.gateway.domain.senders import SenderRefused
from clawdbot.runtime.config import ConfigError
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, Overloaded, Rejected, Unavailable
from services.gateway.tests.platforms.samples import NOW, Samples, account_of, adapter_of

GARBAGE = (b"", b"not json", b"[]", b"{}", b"null", b"\xff\xfe", b"[" * 5000, b'{"a":NaN}')


@pytest.fixture(params=names())
def samples(request: pytest.FixtureRequest) -> Samples:
    module = import_module(f"services.gateway.tests.platforms.{request.param}")
    return module.SAMPLES


@pytest_asyncio.fixture
async def ask(door, samples: Samples, tmp_path: Path) -> AsyncIterator[Callable]:
    """Send a request to the whole application, at the moment `NOW`."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(samples.api)) as platform:
        adapter = adapter_of(samples, tmp_path, platform)
        door.connections.append(Connection(account_of(samples, tmp_path), adapter))
        door.clock = lambda: NOW
        transport = httpx.ASGITransport(door.app(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:

            async def send(raw: RawRequest) -> httpx.Response:
                parts = urlsplit(raw.url)
                path = f"{parts.path}?{parts.query}" if parts.query else parts.path
                headers = list(raw.headers)
                return await client.request(raw.method, path, content=raw.body, headers=headers)

            yield send


def changed(raw: RawRequest, name: str, *values: bytes) -> RawRequest:
    rest = tuple(pair for pair in raw.headers if pair[0] != name.encode())
    return replace(raw, headers=(*rest, *((name.encode(), value) for value in values)))


def value_of(raw: RawRequest, name: str) -> bytes:
    return next(value for key, value in raw.headers if key == name.encode())


def query_changed(raw: RawRequest, name: str, way: str) -> RawRequest:
    path, _, query = raw.url.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    value = dict(pairs)[name].encode()
    rest = [(key, text.encode()) for key, text in pairs if key != name]
    spoilt_query = urlencode([*rest, *((name, text) for text in spoilt(value, way))])
    return replace(raw, url=f"{path}?{spoilt_query}")


def is_signed_alike(one: RawRequest, other: RawRequest) -> bool:
    return (one.url, one.headers) == (other.url, other.headers)


async def test_a_message_is_kept_and_answered_as_the_platform_wants(door, ask, samples) -> None:
    answer = await ask(samples.request(samples.message, NOW))

    (message,) = door.inbox.kept.values()
    assert (message.platform, message.channel) == (samples.platform, samples.platform)
    assert (message.sender_id, message.content) == (samples.sender_id, samples.content)
    assert message.reply_to
    assert (answer.status_code, answer.content) == (samples.ack.status, samples.ack.body)


async def test_a_redelivery_is_kept_once_and_answered_the_same(door, ask, samples) -> None:
    first = await ask(samples.request(samples.message, NOW))
    again = await ask(samples.request(samples.redelivered or samples.message, NOW + 1))

    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert len(door.inbox.kept) == 1


async def test_a_message_that_is_not_kept_is_never_acknowledged(door, ask, samples) -> None:
    door.inbox.failure = Unavailable("the broker is not reachable")
    answer = await ask(samples.request(samples.message, NOW))

    assert answer.status_code == samples.failure_status
    assert (answer.status_code, answer.content) != (samples.ack.status, samples.ack.body)


async def test_a_sender_who_is_not_let_in_is_acknowledged_and_kept_nowhere(
    door, ask, samples
) -> None:
    async def refuse(submission: Submission, *_: object, **__: object) -> Envelope:
        raise SenderRefused(f"{submission.sender_id} is not let in")

    door.screens.append(refuse)
    labels = {"channel": samples.platform, "code": "sender_refused"}
    before = REGISTRY.get_sample_value("clawdbot_gateway_refused_total", labels) or 0

    answer = await ask(samples.request(samples.message, NOW))

    counted = REGISTRY.get_sample_value("clawdbot_gateway_refused_total", labels) or 0
    assert counted == before + 1

    assert answer.status_code == samples.ack.status
    assert samples.sender_id not in answer.text
    assert not door.inbox.kept


@pytest.mark.parametrize("way", ["missing", "empty", "doubled", "not ascii", "changed", "long"])
async def test_a_header_that_is_not_right_is_401(door, ask, samples, way: str) -> None:
    if not samples.signature_headers and not samples.signature_parameters:
        pytest.skip("who it is stands in the body")
    raw = samples.request(samples.message, NOW)

    answers = [
        await ask(changed(raw, name, *spoilt(value_of(raw, name), way)))
        for name in samples.signature_headers
    ] + [await ask(query_changed(raw, name, way)) for name in samples.signature_parameters]

    assert {answer.status_code for answer in answers} == {401}
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
    assert not door.inbox.kept


def spoilt(value: bytes, way: str) -> list[bytes]:
    return {
        "missing": [],
        "empty": [b""],
        "doubled": [value, value],
        "not ascii": [b"\xff" + value[1:]],
        "changed": [value[:-2] + (b"00" if value[-2:] != b"00" else b"11")],
        "long": [value * 1000],
    }[way]


async def test_a_missing_header_is_refused_before_the_body_is_read(ask, samples) -> None:
    raw = samples.request(b"x" * 2_000_000, NOW)

    answers = [await ask(changed(raw, name)) for name in samples.signature_headers]
    names = samples.signature_parameters
    answers += [await ask(query_changed(raw, name, "missing")) for name in names]

    # A body that was read would have been too large.
    statuses = {answer.status_code for answer in answers}
    assert statuses <= ({401, 413} if samples.reads_unsigned else {401})


async def test_a_changed_body_publishes_nothing(door, ask, samples, tmp_path: Path) -> None:
    raw = samples.request(samples.message, NOW)
    signs_body = not is_signed_alike(samples.request(samples.message + b" ", NOW), raw)

    answer = await ask(replace(raw, body=samples.message + b" "))

    assert not signs_body or (answer.status_code == 401 and not door.inbox.kept)


@pytest.mark.parametrize("direction", [-1, 1])
async def test_outside_the_window_it_is_401(door, ask, samples, direction: int) -> None:
    if samples.window_s is None:
        pytest.skip("the platform signs no time")
    inside = await ask(samples.request(samples.message, NOW + direction * (samples.window_s - 1)))
    outside = await ask(samples.request(samples.message, NOW + direction * (samples.window_s + 1)))

    assert (inside.status_code, outside.status_code) == (samples.ack.status, 401)


async def test_what_needs_no_reply_is_acknowledged_and_not_kept(door, ask, samples) -> None:
    answers = [await ask(samples.request(body, NOW)) for body in samples.ignored]

    assert all(200 <= answer.status_code < 300 for answer in answers)
    assert not door.inbox.kept


async def test_handshakes_are_answered_and_not_kept(door, ask, samples) -> None:
    for request, expected in samples.handshakes:
        answer = await ask(request(NOW))

        assert (answer.status_code, answer.content) == (expected.status, expected.body)
    assert not door.inbox.kept


@pytest.mark.parametrize("body", GARBAGE)
async def test_authentic_garbage_is_the_senders_fault(door, ask, samples, body: bytes) -> None:
    answer = await ask(samples.request(body, NOW))

    assert answer.status_code in samples.garbage_status | {400, 401}
    assert not door.inbox.kept


async def test_other_methods_are_405(ask, samples) -> None:
    raw = samples.request(samples.message, NOW)

    answer = await ask(replace(raw, method="DELETE"))

    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert "POST" in answer.headers["allow"]


@pytest.mark.parametrize("value", [None, b"  \n", b"short"])
def test_a_missing_blank_or_short_secret_is_refused_by_name(
    samples, tmp_path: Path, value: bytes | None
) -> None:
    platform = load([samples.platform])[samples.platform]
    required = [rule for rule in platform.secrets if rule.is_required and rule.only_for != "socket"]
    for rule in required:
        others = {what: text for what, text in samples.secrets.items() if what != rule.what}
        given = {} if value is None else {rule.what: value}
        (tmp_path / f"{samples.platform}_default_{rule.what}").unlink(missing_ok=True)

        with pytest.raises(ConfigError, match=f"{samples.platform}_default_{rule.what}"):
            account_of(replace(samples, secrets={**others, **given}), tmp_path)


def test_an_unknown_key_is_refused_by_name(samples, tmp_path: Path) -> None:
    settings = {**samples.settings, "no_such_key": 1}

    with pytest.raises(ConfigError, match=r"default\.no_such_key"):
        account_of(replace(samples, settings=settings), tmp_path)


def test_nothing_shows_a_secret(samples, tmp_path: Path) -> None:
    account = account_of(samples, tmp_path)
    request = samples.request(samples.message, NOW)

    shown = repr(account) + repr(adapter_of(samples, tmp_path)) + repr(request)

    assert not any(secret.decode() in shown for secret in samples.secrets.values())


class Sending:
    """Sends a reply to the sample's message, with the platform's API played by a function."""

    def __init__(self, door, samples: Samples, directory: Path) -> None:
        self._door, self._samples, self._directory = door, samples, directory
        self.requests: list[httpx.Request] = []

    async def send(
        self, reply_to, api: Callable[[httpx.Request], httpx.Response], text: str = "hi there"
    ) -> None:
        async with self.sender(reply_to, api, text) as (sender, part):
            await sender.send(part, deadline=Deadline.after(5))

    @asynccontextmanager
    async def sender(
        self, reply_to, api: Callable[[httpx.Request], httpx.Response], text: str = "hi there"
    ) -> AsyncIterator[tuple[PlatformSender, ReplyPart]]:
        # What is fetched before a message is believed comes from a platform that is well.
        answers = self._samples.api

        def play(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            return answers(request)

        raw = self._samples.request(self._samples.message, NOW)
        async with httpx.AsyncClient(transport=httpx.MockTransport(play)) as client:
            account = account_of(self._samples, self._directory)
            adapter = adapter_of(self._samples, self._directory, client)
            connection = Connection(account, adapter)
            reply = reply_to(await self._kept(connection, raw), text)
            self.requests.clear()
            answers = api
            part = ReplyPart(reply, text, 0, 1, "idempotencykeyofthispart")
            yield PlatformSender(connection, SealedAddresses(b"k" * 32)), part

    async def _kept(self, connection: Connection, raw: RawRequest):
        self._door.connections[:] = [connection]
        self._door.clock = lambda: NOW
        transport = httpx.ASGITransport(self._door.app(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            parts = urlsplit(raw.url)
            path = f"{parts.path}?{parts.query}" if parts.query else parts.path
            await client.request(raw.method, path, content=raw.body, headers=list(raw.headers))
        (message,) = self._door.inbox.kept.values()
        return message


@pytest.fixture
def sending(door, samples: Samples, tmp_path: Path) -> Sending:
    return Sending(door, samples, tmp_path)


async def test_a_reply_goes_to_where_the_message_came_from(sending, reply_to, samples) -> None:
    await sending.send(reply_to, samples.api)

    said = [f"{request.url} {request.content.decode()}" for request in sending.requests]
    # Some platforms take a form.
    said += [unquote_plus(told) for told in said]
    assert any("hi there" in told and samples.destination in told for told in said)


@pytest.mark.parametrize(
    ("answer", "expected", "wait_s"),
    [
        (
            httpx.Response(429, headers={"Retry-After": "7"}, json={"retry_after": 7.0}),
            Overloaded,
            7,
        ),
        (httpx.Response(500), Unavailable, None),
        (httpx.Response(502, text="<html>"), Unavailable, None),
        (httpx.ConnectError("refused"), Unavailable, None),
        (httpx.ReadTimeout("slow"), AnswerLost, None),
        (httpx.RemoteProtocolError("cut off"), AnswerLost, None),
        (httpx.Response(400, json={}), Rejected, None),
        (httpx.Response(302, headers={"Location": "https://evil.example"}), Rejected, None),
    ],
)
async def test_a_failed_send_says_whether_to_try_again(
    sending,
    reply_to,
    samples,
    answer: httpx.Response | Exception,
    expected: type[ClawdbotError],
    wait_s: float | None,
) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(expected) as error:
        await sending.send(reply_to, fail)

    assert error.value.retry_after_s == wait_s
    # What is in doubt is sent once more at most; nothing else may be taken for it.
    assert isinstance(error.value, AnswerLost) is (expected is AnswerLost)
    assert not any(secret.decode() in error.value.message for secret in samples.secrets.values())


async def test_what_was_sent_is_edited_where_the_adapter_says_so(
    sending, reply_to, samples
) -> None:
    async with sending.sender(reply_to, samples.api) as (sender, part):
        if not sender.traits(part).edits:
            with pytest.raises(Rejected):
                await sender.edit("1", part, deadline=Deadline.after(5))
            return
        sent_id = await sender.send(part, deadline=Deadline.after(5))
        sending.requests.clear()
        better = replace(part, text="hi again")
        await sender.edit(sent_id, better, deadline=Deadline.after(5))

    told = [f"{request.url} {request.content.decode()}" for request in sending.requests]
    assert any("hi again" in said and sent_id in said for said in told)


async def test_a_failed_edit_says_whether_to_try_again(sending, reply_to, samples) -> None:
    answers = iter([httpx.Response(429, headers={"Retry-After": "7"}), httpx.Response(400)])
    async with sending.sender(reply_to, lambda _: next(answers)) as (sender, part):
        if not sender.traits(part).edits:
            pytest.skip("the platform edits nothing")
        with pytest.raises(Overloaded) as busy:
            await sender.edit("1", part, deadline=Deadline.after(5))
        with pytest.raises(Rejected):
            await sender.edit("1", part, deadline=Deadline.after(5))

    assert busy.value.retry_after_s == 7


async def test_typing_is_shown_where_the_adapter_says_so(sending, reply_to, samples) -> None:
    async with sending.sender(reply_to, samples.api) as (sender, part):
        adapter = sender._connection.adapter
        if adapter.capabilities.typing:
            await sender.show_typing(part, deadline=Deadline.after(5))
        else:
            with pytest.raises(Rejected):
                await sender.show_typing(part, deadline=Deadline.after(5))

    # Some fetch an access token first.
    calls = [request for request in sending.requests if "_token" not in request.url.path]
    assert len(calls) == int(adapter.capabilities.typing)


async def test_an_adapter_says_what_may_be_expected_of_a_send(sending, reply_to, samples) -> None:
    async with sending.sender(reply_to, samples.api) as (sender, part):
        traits = sender.traits(part)
        lost = replace(part, reply=part.reply.model_copy(update={"reply_to": b""}))

        assert (traits.shows_once, traits.edits) == samples.traits
        assert sender.traits(lost) == SendTraits()
