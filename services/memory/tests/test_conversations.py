from __future__ import annotations

import asyncio

import pytest

from clawdbot.schema.errors import Conflict, Forbidden
from clawdbot.schema.memory import (
    AppendRequest,
    ConversationLine,
    EraseRequest,
    HistoryRequest,
    Speaker,
)
from clawdbot.schema.principal import Scope
from clawdbot.schema.rpc import Call

from .support import Service, call


def line(line_id: str, content: str = "hello", speaker: Speaker = Speaker.USER) -> ConversationLine:
    return ConversationLine(id=line_id, speaker=speaker, content=content, said_at_ms=1)


async def say(service: Service, *lines: ConversationLine, by: Call | None = None) -> int:
    reply = await service.conversations.append(AppendRequest(lines=lines), by or call())
    return reply.length


async def heard(service: Service, limit: int = 20, by: Call | None = None) -> list[str]:
    reply = await service.conversations.history(HistoryRequest(limit=limit), by or call())
    return [each.id for each in reply.lines]


async def test_the_newest_lines_come_oldest_first(service: Service) -> None:
    await say(service, line("a"), line("b", "好的", Speaker.ASSISTANT))
    length = await say(service, line("c"))

    assert length == 3
    assert await heard(service) == ["a", "b", "c"]
    assert await heard(service, limit=2) == ["b", "c"]


async def test_lines_appended_again_change_nothing(service: Service) -> None:
    await say(service, line("a"), line("b"))

    length = await say(service, line("b"), line("a"), line("c"))

    assert length == 3
    assert await heard(service) == ["a", "b", "c"]


async def test_a_lines_id_with_other_content_is_a_conflict_and_nothing_is_added(
    service: Service,
) -> None:
    await say(service, line("a"))

    with pytest.raises(Conflict):
        await say(service, line("b"), line("a", "changed"))

    assert await heard(service) == ["a"]


async def test_lines_appended_at_the_same_time_all_find_a_place(service: Service) -> None:
    await asyncio.gather(*(say(service, line(f"l{n}")) for n in range(20)))

    assert sorted(await heard(service)) == sorted(f"l{n}" for n in range(20))


async def test_conversations_users_and_tenants_are_apart(service: Service) -> None:
    others = [call(conversation="other"), call("bob"), call(tenant="evil")]
    await say(service, line("a", "mine"))
    for other in others:
        await say(service, line("a", "theirs"), by=other)

    reply = await service.conversations.history(HistoryRequest(), call())

    assert [each.content for each in reply.lines] == ["mine"]


async def test_without_its_scope_a_principal_hears_and_says_nothing(service: Service) -> None:
    nobody = call(scopes=frozenset({Scope.CHAT}))

    with pytest.raises(Forbidden):
        await say(service, line("a"), by=nobody)
    with pytest.raises(Forbidden):
        await heard(service, by=nobody)


async def test_erasing_a_user_takes_lines_of_all_conversations(service: Service) -> None:
    await say(service, line("a"))
    await say(service, line("a"), by=call(conversation="other"))
    await say(service, line("a"), by=call("bob"))

    reply = await service.memories.erase(EraseRequest(), call())

    assert (reply.memories, reply.lines) == (0, 2)
    assert await heard(service) == []
    assert await heard(service, by=call("bob")) == ["a"]
