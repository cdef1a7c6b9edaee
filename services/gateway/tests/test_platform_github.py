from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.platforms.github import GitHub
from clawdbot.gateway.adapters.platforms.github_comments import Listener, without_mentions
from clawdbot.gateway.adapters.platforms.requests import RawRequest, Verified
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.runtime.config import ConfigError
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import InvalidMessage, Overloaded, Rejected, Unauthenticated
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import OutboundMessage
from services.gateway.tests.platforms.github import (
    REPOSITORY,
    SAMPLES,
    SECRET,
    TOKEN,
    comment,
    event,
    request,
    review,
    sent,
)
from services.gateway.tests.platforms.samples import NOW, account_of, adapter_of

HEADER = b"x-hub-signature-256"
PUBLISHED = RawRequest(
    method="POST",
    url="/",
    headers=((HEADER, b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"),),
    body=b"Hello, World!",
)
ROOT = "https://api.github.com/repos/octo-org/claw.py"
ISSUE = {"repository": "octo-org/claw.py", "number": 7, "thread": 0}
REVIEW = {"repository": "octo-org/claw.py", "number": 8, "thread": 492700400}


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Any]:
    def received(payload: bytes) -> Any:
        adapter = adapter_of(SAMPLES, tmp_path)
        return adapter.read(adapter.verify(request(payload), NOW)).messages

    return received


class TestSignatures:
    def test_the_published_one_is_authentic(self, tmp_path: Path) -> None:
        assert adapter_of(SAMPLES, tmp_path).verify(PUBLISHED, NOW).payload == PUBLISHED.body

    @pytest.mark.parametrize(
        "signature",
        [
            PUBLISHED.headers[0][1][7:],
            PUBLISHED.headers[0][1].upper(),
            b"sha1=" + PUBLISHED.headers[0][1][7:],
            PUBLISHED.headers[0][1] + b"0",
            b"sha256=",
        ],
    )
    def test_nothing_but_the_sha256_will_do(self, tmp_path: Path, signature: bytes) -> None:
        forged = replace(PUBLISHED, headers=((HEADER, signature),))

        with pytest.raises(Unauthenticated):
            adapter_of(SAMPLES, tmp_path).verify(forged, NOW)

    def test_the_old_and_the_new_secret_are_believed_while_they_change(
        self, tmp_path: Path
    ) -> None:
        old = b"the secret that was before this"
        secrets = {**SAMPLES.secrets, "webhook_secret": SECRET + b"\n" + old}
        adapter = adapter_of(replace(SAMPLES, secrets=secrets), tmp_path)

        for secret in (old, SECRET):
            adapter.verify(request(event(), NOW, secret), NOW)

        with pytest.raises(Unauthenticated):
            adapter.verify(request(event(), NOW, b"somebody else's secret"), NOW)

    def test_no_other_body_or_signature_is_ever_accepted(self, tmp_path_factory) -> None:
        adapter = adapter_of(SAMPLES, tmp_path_factory.mktemp("secrets"))

        @given(st.booleans(), st.integers(0), st.integers(1, 255))
        def holds(in_body: bool, at: int, change: int) -> None:
            payload, signed = bytearray(PUBLISHED.body), bytearray(PUBLISHED.headers[0][1])
            changed = payload if in_body else signed
            changed[at % len(changed)] ^= change
            headers = ((HEADER, bytes(signed)),)

            with pytest.raises(Unauthenticated):
                adapter.verify(RawRequest("POST", "/", (), headers, bytes(payload)), NOW)

        holds()

    @pytest.mark.parametrize("login", [None, "", "not a login", "a/b"])
    def test_a_login_is_needed(self, tmp_path: Path, login: str | None) -> None:
        settings = {} if login is None else {"bot_login": login}

        with pytest.raises(ConfigError, match="bot_login"):
            account_of(replace(SAMPLES, settings=settings), tmp_path)


class TestComments:
    def test_an_issue_is_a_conversation_that_others_read(self, read) -> None:
        (message,) = read(event())

        assert message.place == ("186853002", "7", "")
        assert (message.event_id, message.timestamp) == ("issue:492700400", 1_699_999_990)
        assert message.address == ISSUE
        assert message.thread_id is None
        assert message.in_group

    def test_a_thread_of_a_review_is_one_too(self, read) -> None:
        (first,), (second,) = read(review()), read(review(id=5, in_reply_to_id=492700400))

        assert first.place == second.place == ("186853002", "8", "492700400")
        assert [first.event_id, second.event_id] == ["review:492700400", "review:5"]
        assert second.address == REVIEW

    def test_a_name_that_points_elsewhere_cannot_be_read(self, read) -> None:
        with pytest.raises(InvalidMessage):
            read(event(repository={**REPOSITORY, "full_name": "a/../../user"}))

    def test_a_long_comment_that_is_for_others_is_no_error(self, read) -> None:
        assert read(event(comment=comment("x" * 65_000))) == ()

    @pytest.mark.parametrize(
        ("said", "heard"),
        [
            ("@claw-bot hello", "hello"),
            ("  @Claw-Bot: hello", "hello"),
            ("@claw-bot[bot] hello", "hello"),
            ("@claw-bot /stop", "/stop"),
            ("@claw-bot", "@claw-bot"),
            ("/clawdbot hello", "hello"),
            ("/CLAWDBOT\nhello", "hello"),
            ("/approve K7Q2M9XW4T", "/approve K7Q2M9XW4T"),
            ("hello @claw-bot.", "hello @claw-bot."),
            ("> hi\n\nwhat now, @claw-bot?", "> hi\n\nwhat now, @claw-bot?"),
            ("`code` (@claw-bot)", "`code` (@claw-bot)"),
            ("```\ncode\n```\n@claw-bot", "```\ncode\n```\n@claw-bot"),
            ("hello", None),
            ("/clawdbots hello", None),
            ("please /clawdbot", None),
            ("me@claw-bot", None),
            ("@claw-bots", None),
            ("@claw-bot-2", None),
            ("https://github.com/@claw-bot", None),
            ("<!-- @claw-bot -->", None),
            ("~~~\n@claw-bot\n", None),
            ("   > @claw-bot", None),
            ("/approve", None),
        ],
    )
    def test_who_is_spoken_to(self, said: str, heard: str | None) -> None:
        assert Listener("@claw-bot").heard(said) == heard

    def test_an_app_hears_its_name_too(self) -> None:
        assert Listener("claw-bot[bot]").heard("@claw-bot hello") == "hello"

    @pytest.mark.parametrize(
        "awkward", ["`" * 60_000, "```" * 20_000, "<!--" * 15_000, "\n>" * 30_000]
    )
    def test_awkward_texts_are_read_in_time(self, awkward: str) -> None:
        # Squared, the time of this test would be over.
        assert Listener("claw-bot").heard(awkward) is None
        assert without_mentions(awkward) == awkward

    def test_whatever_is_signed_raises_nothing_else(self, tmp_path_factory) -> None:
        adapter = adapter_of(SAMPLES, tmp_path_factory.mktemp("secrets"))
        leaves = st.none() | st.booleans() | st.integers() | st.text()
        names = st.sampled_from([*json.loads(event()), *comment(), "number", "full_name", "login"])
        values = st.recursive(
            leaves, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=12
        )

        @given(st.dictionaries(names, values), st.dictionaries(names, values))
        def holds(in_comment: dict[str, object], in_event: dict[str, object]) -> None:
            told = {"comment": comment(**in_comment), **in_event}
            payload = event(**told)
            try:
                adapter.read(Verified(request(payload), payload))
            except (BadPayload, InvalidMessage):
                return

        holds()


class TestMentionsInAnswers:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("ask @ada or @org/team", "ask @\u200bada or @\u200borg/team"),
            ("a `@property`, @ada", "a `@property`, @\u200bada"),
            ("```py\n@cache\n```\n@ada", "```py\n@cache\n```\n@\u200bada"),
            (r"\`@ada\`", "\\`@\u200bada\\`"),
            ("```py\n@cache", "```py\n@cache"),
            ("@ alone, 5 @ 3", "@ alone, 5 @ 3"),
        ],
    )
    def test_nobody_is_called(self, text: str, shown: str) -> None:
        assert without_mentions(text) == shown

    @given(st.text("@a`~ \n😀"))
    def test_what_is_within_our_limit_is_within_githubs(self, text: str) -> None:
        assert len(without_mentions(text)) <= len(text) * 1.5
        assert without_mentions(text).replace("\u200b", "") == text


class Api:
    """GitHub as far as comments go."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answer: Callable[[httpx.Request], httpx.Response] = sent

    def __call__(self, asked: httpx.Request) -> httpx.Response:
        self.requests.append(asked)
        assert asked.headers["user-agent"]
        assert 0 < len(json.loads(asked.content)["body"]) <= 65_536
        return self.answer(asked)

    @property
    def calls(self) -> list[tuple[str, str]]:
        return [(one.method, str(one.url)) for one in self.requests]


@pytest.fixture
def api() -> Api:
    return Api()


@pytest_asyncio.fixture
async def github(api: Api, tmp_path: Path) -> AsyncIterator[GitHub]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(api)) as client:
        yield GitHub(account_of(SAMPLES, tmp_path), client)


def part(text: str = "hi") -> ReplyPart:
    reply = OutboundMessage(
        channel=Channel("github"),
        tenant=Tenant("default"),
        conversation_id=ConversationId("c"),
        message_id=MessageId("m"),
        content=text,
        created_at_ms=1,
    )
    return ReplyPart(reply, text, 0, 1, "key")


class TestSending:
    @pytest.mark.parametrize(
        ("address", "posted", "patched"),
        [
            (ISSUE, "issues/7/comments", "issues/comments/492700401"),
            (REVIEW, "pulls/8/comments/492700400/replies", "pulls/comments/492700401"),
        ],
    )
    async def test_a_reply_is_a_comment_and_an_edit_a_patch(
        self, github: GitHub, api: Api, address: dict[str, object], posted: str, patched: str
    ) -> None:
        sent_id = await github.send(part(), address, deadline=Deadline.after(5))
        await github.edit(str(sent_id), part("hi again"), address, deadline=Deadline.after(5))

        assert api.calls == [("POST", f"{ROOT}/{posted}"), ("PATCH", f"{ROOT}/{patched}")]
        assert api.requests[0].headers["authorization"] == f"Bearer {TOKEN.decode()}"
        assert json.loads(api.requests[1].content) == {"body": "hi again"}

    async def test_the_longest_part_fits_with_every_mention_made_harmless(
        self, github: GitHub
    ) -> None:
        limit = github.limits.text

        await github.send(part("@a" * (limit.most // 2)), ISSUE, deadline=Deadline.after(5))

    async def test_an_id_that_is_none_leads_nowhere(self, github: GitHub, api: Api) -> None:
        with pytest.raises(Rejected):
            await github.edit("1/../2", part(), ISSUE, deadline=Deadline.after(5))

        assert api.calls == []

    @pytest.mark.parametrize(
        ("answer", "least_s", "most_s"),
        [
            (httpx.Response(403, headers={"Retry-After": "9"}, json={}), 9, 9),
            (httpx.Response(429, json={}), 60, 60),
            (
                httpx.Response(403, json={"message": "You have exceeded a secondary rate limit"}),
                60,
                60,
            ),
            (
                httpx.Response(
                    403,
                    headers={
                        "X-RateLimit-Remaining": "0",
                        "X-RateLimit-Reset": str(int(time.time()) + 1000),
                    },
                    json={"message": "API rate limit exceeded for user ID 1."},
                ),
                1,
                1000,
            ),
            (
                httpx.Response(
                    429, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9" * 12}
                ),
                3600,
                3600,
            ),
        ],
    )
    async def test_a_limit_is_waited_for(
        self, github: GitHub, api: Api, answer: httpx.Response, least_s: float, most_s: float
    ) -> None:
        api.answer = lambda _: answer

        with pytest.raises(Overloaded) as error:
            await github.send(part(), ISSUE, deadline=Deadline.after(5))

        assert least_s <= (error.value.retry_after_s or 0) <= most_s

    @pytest.mark.parametrize("status", [401, 403, 404, 410, 422])
    async def test_a_refusal_is_final(self, github: GitHub, api: Api, status: int) -> None:
        api.answer = lambda _: httpx.Response(status, json={"message": "no"})

        with pytest.raises(Rejected) as error:
            await github.send(part(), ISSUE, deadline=Deadline.after(5))

        assert (error.value.fix is not None) is (status in {401, 403, 404})
