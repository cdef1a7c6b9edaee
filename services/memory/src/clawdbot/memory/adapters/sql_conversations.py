"""Conversations and their lines in SQL."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from clawdbot.memory.adapters.sql_database import SQLDatabase
from clawdbot.memory.adapters.sql_store import owned
from clawdbot.memory.adapters.tables import conversations, lines
from clawdbot.memory.adapters.threads import to_end
from clawdbot.memory.domain.owner import Conversation, Owner
from clawdbot.schema.errors import Conflict
from clawdbot.schema.ids import ConversationId
from clawdbot.schema.memory import ConversationLine, ConversationSummary, Speaker


class SQLConversationStore:
    """Implements `ports.ConversationStore`."""

    def __init__(self, database: SQLDatabase) -> None:
        self._database = database

    async def append(
        self, conversation: Conversation, added: Sequence[ConversationLine], name: str | None
    ) -> int:
        """See `ports.ConversationStore.append`."""
        return await to_end(self._append(conversation, added, name))

    async def history(
        self, conversation: Conversation, limit: int, before_id: str | None
    ) -> Sequence[ConversationLine]:
        """See `ports.ConversationStore.history`."""
        query = select(lines).where(_in(conversation)).order_by(lines.c.position.desc())
        if before_id is not None:
            end = select(lines.c.position).where(_in(conversation), lines.c.id == before_id)
            query = query.where(lines.c.position < end.scalar_subquery())
        async with self._database.read("history") as connection:
            newest = (await connection.execute(query.limit(limit))).all()
        return [
            ConversationLine(
                id=row.id,
                speaker=Speaker(row.speaker),
                content=row.content,
                said_at_ms=row.said_at,
            )
            for row in reversed(newest)
        ]

    async def list_latest(
        self, owner: Owner, limit: int, before: tuple[int, str] | None
    ) -> Sequence[ConversationSummary]:
        """See `ports.ConversationStore.list_latest`."""
        at, key = conversations.c.updated_at, conversations.c.id
        # Positions count from 1 without gaps.
        last = select(func.max(lines.c.position)).where(
            owned(lines, owner), lines.c.conversation_id == key
        )
        query = select(conversations, last.scalar_subquery().label("length"))
        query = query.where(owned(conversations, owner)).order_by(at.desc(), key.desc())
        if before is not None:
            query = query.where(or_(at < before[0], and_(at == before[0], key < before[1])))
        async with self._database.read("conversations") as connection:
            found = (await connection.execute(query.limit(limit))).all()
        return [
            ConversationSummary(
                id=ConversationId(row.id),
                name=row.name,
                length=row.length or 0,
                started_at_ms=row.started_at,
                updated_at_ms=row.updated_at,
            )
            for row in found
        ]

    async def forget(self, conversation: Conversation) -> int:
        """See `ports.ConversationStore.forget`."""
        return await to_end(self._forget(conversation))

    async def _forget(self, conversation: Conversation) -> int:
        async with self._database.write("forget_conversation") as connection:
            said = await connection.execute(delete(lines).where(_in(conversation)))
            await connection.execute(delete(conversations).where(_is(conversation)))
        await self._database.scrub()
        return said.rowcount

    async def _append(
        self, conversation: Conversation, added: Sequence[ConversationLine], name: str | None
    ) -> int:
        async with self._database.write("append") as connection:
            new = await _unknown(connection, conversation, added)
            last = select(func.max(lines.c.position)).where(_in(conversation))
            length: int = (await connection.execute(last)).scalar() or 0
            if new:
                values = [
                    _row(conversation, line, length + index) for index, line in enumerate(new, 1)
                ]
                await connection.execute(insert(lines), values)
                await _touch(connection, conversation, new, name)
            return length + len(new)


async def _unknown(
    connection: AsyncConnection, conversation: Conversation, added: Sequence[ConversationLine]
) -> list[ConversationLine]:
    wanted = lines.c.id.in_({line.id for line in added})
    query = select(lines.c.id, lines.c.speaker, lines.c.content).where(_in(conversation), wanted)
    seen = {row.id: (row.speaker, row.content) for row in await connection.execute(query)}
    new = []
    for line in added:
        said = (line.speaker.value, line.content)
        if line.id not in seen:
            new.append(line)
        elif seen[line.id] != said:
            raise Conflict(f"line {line.id!r} is kept with other content", field="id")
        seen[line.id] = said
    return new


async def _touch(
    connection: AsyncConnection,
    conversation: Conversation,
    new: Sequence[ConversationLine],
    name: str | None,
) -> None:
    times = [line.said_at_ms for line in new]
    known = (await connection.execute(select(conversations).where(_is(conversation)))).first()
    if known is None:
        started = {"name": name, "started_at": min(times), "updated_at": max(times)}
        owner = conversation.owner
        key = {"tenant": owner.tenant, "user_id": owner.user, "id": conversation.id}
        await connection.execute(insert(conversations).values(key | started))
        return
    changed = {"name": known.name or name, "updated_at": max(known.updated_at, *times)}
    await connection.execute(update(conversations).where(_is(conversation)).values(changed))


def _is(conversation: Conversation) -> ColumnElement[bool]:
    return and_(owned(conversations, conversation.owner), conversations.c.id == conversation.id)


def _in(conversation: Conversation) -> ColumnElement[bool]:
    return and_(owned(lines, conversation.owner), lines.c.conversation_id == conversation.id)


def _row(conversation: Conversation, line: ConversationLine, position: int) -> dict[str, object]:
    return {
        "tenant": conversation.owner.tenant,
        "user_id": conversation.owner.user,
        "conversation_id": conversation.id,
        "id": line.id,
        "position": position,
        "speaker": line.speaker.value,
        "content": line.content,
        "said_at": line.said_at_ms,
    }
