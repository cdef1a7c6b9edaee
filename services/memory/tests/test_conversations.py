from __future__ import annotations

import asyncio

import pytest

from clawdbot.schema.errors import Conflict, Forbidden, InvalidMessage
from clawdbot.schema.memory import (
    AppendRequest,
    ConversationLine,
    ConversationsRequest,
    EraseRequest,
    ForgetConversationRequest,
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


async def listed(service: Service, by: Call | None = None, **page: object) -> list[str]:
    request = ConversationsRequest.model_validate(page)
    reply = await service.conversations.list_latest(request, by or call())
    return [each.id for each in reply.conversations]


async def test_conversations_are_listed_latest_first_a_page_at_a_time(service: Service) -> None:
    for at, room in enumerate(("old", "middle", "new", "same"), 1):
        said = line("a").model_copy(update={"said_at_ms": min(at, 3)})
        await say(service, said, by=call(conversation=room))
    await say(service, line("b").model_copy(update={"said_at_ms": 9}), by=call(conversation="old"))

    first = await service.conversations.list_latest(ConversationsRequest(limit=2), call())
    last = first.conversations[-1]
    rest = await listed(service, before_ms=last.updated_at_ms, before_id=last.id)

    assert [each.id for each in first.conversations] == ["old", "same"]
    assert (first.conversations[0].length, first.conversations[0].started_at_ms) == (2, 1)
    assert rest == ["new", "middle"]


async def test_a_conversation_keeps_the_first_name_that_it_is_given(service: Service) -> None:
    for name in (None, "holiday", "work"):
        lines = (line(f"line-{name}"),)
        request = AppendRequest(lines=lines, conversation_name=name)
        await service.conversations.append(request, call())

    reply = await service.conversations.list_latest(ConversationsRequest(), call())

    assert [each.name for each in reply.conversations] == ["holiday"]


async def test_lines_before_a_line_are_the_page_before(service: Service) -> None:
    await say(service, *(line(name) for name in "abcde"))

    request = HistoryRequest(limit=2, before_id="d")
    page = await service.conversations.history(request, call())
    unknown = await service.conversations.history(HistoryRequest(before_id="z"), call())

    assert [each.id for each in page.lines] == ["b", "c"]
    assert not unknown.lines


async def test_a_forgotten_conversation_is_gone_and_others_stay(service: Service) -> None:
    for room in ("one", "two"):
        await say(service, line("a"), line("b"), by=call(conversation=room))

    forget = ForgetConversationRequest()
    gone = await service.conversations.forget(forget, call(conversation="one"))
    again = await service.conversations.forget(forget, call(conversation="one"))

    assert (gone.lines, again.lines) == (2, 0)
    assert await listed(service) == ["two"]
    assert await heard(service, by=call(conversation="one")) == []
    assert await heard(service, by=call(conversation="two")) == ["a", "b"]


async def test_nobody_sees_or_forgets_the_conversations_of_others(service: Service) -> None:
    await say(service, line("a"))
    others = (call(user="bob"), call(tenant="rival"))

    for other in others:
        assert await listed(service, by=other) == []
        forgotten = await service.conversations.forget(ForgetConversationRequest(), other)
        assert forgotten.lines == 0
    assert await listed(service) == ["room"]


async def test_erasing_a_user_erases_the_list_of_their_conversations(service: Service) -> None:
    await say(service, line("a"))

    await service.memories.erase(EraseRequest(), call())

    assert await listed(service) == []


async def test_half_of_a_pages_end_is_refused(service: Service) -> None:
    with pytest.raises(InvalidMessage):
        await listed(service, before_ms=1)


async def test_listing_needs_the_right_to_read_and_forgetting_that_to_write(
    service: Service,
) -> None:
    with pytest.raises(Forbidden):
        await listed(service, by=call(scopes=frozenset({Scope.CHAT})))
    with pytest.raises(Forbidden):
        reader = call(scopes=frozenset({Scope.MEMORY_READ}))
        await service.conversations.forget(ForgetConversationRequest(), reader)
