"""Long polling: what is confirmed when, and what Telegram's refusals mean."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from clawdbot.gateway.adapters.platforms.interface import Connects, Event
from clawdbot.gateway.adapters.platforms.registry import configured, load
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest
from clawdbot.gateway.adapters.platforms.telegram import Telegram
from clawdbot.gateway.adapters.platforms.telegram_polling import MAX_UPDATES
from clawdbot.runtime.config import ConfigError
from clawdbot.runtime.config_sections import Platforms
from clawdbot.runtime.secrets import Secrets
from clawdbot.schema.errors import ClawdbotError, Overloaded, Rejected, Unauthenticated, Unavailable
from services.gateway.tests.platforms.telegram import TOKEN, said
from services.gateway.tests.telegram_updates import CONFLICT, Updates, failed


def update(number: int, **changes: object) -> dict[str, Any]:
    return {"update_id": number, "message": said(text=f"text {number}", **changes)}


@pytest.fixture
def api() -> Updates:
    return Updates()


@pytest_asyncio.fixture
async def bot(api: Updates, tmp_path: Path) -> AsyncIterator[Telegram]:
    (tmp_path / "telegram_default_bot_token").write_text(TOKEN)
    section = {"accounts": {"default": {"connection": "socket"}}}
    platforms = Platforms.model_validate({"telegram": section})
    (account,) = configured(platforms, load(["telegram"]), Secrets(tmp_path), "")
    async with httpx.AsyncClient(transport=httpx.MockTransport(api)) as client:
        yield Telegram(account, client)


async def test_an_update_is_confirmed_only_after_it_was_acknowledged(
    api: Updates, bot: Telegram
) -> None:
    api.say(update(7), update(8), update(9))

    async with bot.connect() as events:
        for _ in range(2):
            await (await anext(events)).acknowledge(HTTPAnswer())
        await anext(events)
    assert [poll.get("offset") for poll in api.polls] == [None]
    async with bot.connect() as events:
        found = [await _acknowledged(events) for _ in range(3)]
        api.say(update(10))
        found.append(await _acknowledged(events))

    assert found == [7, 8, 9, 10]
    assert [poll.get("offset") for poll in api.polls] == [None, None, 10]
    assert [poll["timeout"] > 0 for poll in api.polls] == [False, False, True]


async def test_an_offset_is_named_once_since_ids_may_begin_anew_below_it(
    api: Updates, bot: Telegram
) -> None:
    api.say(update(900))

    async with bot.connect() as events:
        assert await _acknowledged(events) == 900
        api.waiting.clear()
        api.say(update(901))
        assert await _acknowledged(events) == 901
        api.failures.append(httpx.Response(200, json={"ok": True, "result": []}))
        api.waiting.clear()
        api.say(update(5))
        assert await _acknowledged(events) == 5

    assert [poll.get("offset") for poll in api.polls] == [None, 901, 902, None]


async def test_many_updates_come_in_order_a_few_at_a_time(api: Updates, bot: Telegram) -> None:
    api.say(*(update(number) for number in range(100, 100 + 3 * MAX_UPDATES)))

    async with bot.connect() as events:
        found = [await _acknowledged(events) for _ in range(3 * MAX_UPDATES)]

    assert found == list(range(100, 100 + 3 * MAX_UPDATES))


async def test_the_answer_to_a_press_is_called_and_may_fail(api: Updates, bot: Telegram) -> None:
    api.say(update(1))
    answer = HTTPAnswer.of_json({"method": "answerCallbackQuery", "callback_query_id": "42"})

    async with bot.connect() as events:
        await (await anext(events)).acknowledge(answer)

    assert api.calls == [("answerCallbackQuery", {"callback_query_id": "42"})]


async def test_a_refused_update_does_not_come_again(api: Updates, bot: Telegram) -> None:
    api.say(update(1), update(2))

    async with bot.connect() as events:
        await (await anext(events)).refuse()
        assert await _acknowledged(events) == 2
        api.say(update(3))
        assert await _acknowledged(events) == 3


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (failed(409, CONFLICT), Unavailable, "deleteWebhook"),
        (failed(401, "Unauthorized"), Rejected, "@BotFather"),
        (failed(404, "Not Found"), Rejected, "@BotFather"),
        (failed(429, "Too Many Requests", retry_after=7), Overloaded, ""),
        (failed(502, "Bad Gateway"), Unavailable, ""),
        (httpx.Response(200, text="<html>"), Unavailable, ""),
        (httpx.Response(200, json={"ok": True, "result": {}}), Unavailable, ""),
        (httpx.Response(200, json={"ok": True, "result": [{"update_id": "x"}]}), Unavailable, ""),
        (httpx.ConnectError(f"no route to /bot{TOKEN}"), Unavailable, ""),
    ],
)
async def test_a_failure_says_what_to_do_and_never_the_token(
    api: Updates, bot: Telegram, answer: Any, kind: type[ClawdbotError], said: str
) -> None:
    api.failures.append(answer)

    with pytest.raises(kind) as error:
        async with bot.connect() as events:
            await anext(events)

    assert said in (error.value.fix or "")
    assert TOKEN not in f"{error.value}{error.value.fix}{error.value.__cause__}"
    if kind is Overloaded:
        assert error.value.retry_after_s == 7


async def test_a_bot_that_polls_believes_no_webhook(bot: Telegram) -> None:
    assert isinstance(bot, Connects)
    header = ((b"x-telegram-bot-api-secret-token", b"anything-at-all"),)

    with pytest.raises(Unauthenticated):
        bot.admit(RawRequest("POST", "", headers=header))


def test_each_way_in_takes_its_own_secrets(tmp_path: Path) -> None:
    (tmp_path / "telegram_default_bot_token").write_text(TOKEN)

    with pytest.raises(ConfigError, match="telegram_default_webhook_secret"):
        configured(
            Platforms.model_validate({"telegram": {}}), load(["telegram"]), Secrets(tmp_path), ""
        )


def test_a_platform_with_webhooks_alone_cannot_be_connected_to(tmp_path: Path) -> None:
    (tmp_path / "standard_webhooks_default_secret").write_text("whsec_" + "a" * 32)
    section = {"accounts": {"default": {"connection": "socket"}}}

    with pytest.raises(ConfigError, match=r"default.connection: this platform has webhooks only"):
        configured(
            Platforms.model_validate({"standard_webhooks": section}),
            load(["standard_webhooks"]),
            Secrets(tmp_path),
            "",
        )


async def _acknowledged(events: AsyncIterator[Event]) -> int:
    event = await anext(events)
    await event.acknowledge(HTTPAnswer())
    number: int = json.loads(event.payload)["update_id"]
    return number
