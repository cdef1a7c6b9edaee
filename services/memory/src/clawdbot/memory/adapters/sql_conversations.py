"""The lines of conversations in SQL."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from clawdbot.memory.adapters.sql_database import SQLDatabase
from clawdbot.memory.adapters.sql_store import owned
from clawdbot.memory.adapters.tables import lines
from clawdbot.memory.adapters.threads import to_end
from clawdbot.memory.domain.owner import Conversation
from clawdbot.schema.errors import Conflict
from clawdbot.schema.memory import ConversationLine, Speaker


class SQLConversationStore:
    """Implements `ports.ConversationStore`."""

    def __init__(self, database: SQLDatabase) -> None:
        self._database = database

    async def append(self, conversation: Conversation, added: Sequence[ConversationLine]) -> int:
        """See `ports.ConversationStore.append`."""
        return await to_end(self._append(conversation, added))

    async def history(self, conversation: Conversation, limit: int) -> Sequence[ConversationLine]:
        """See `ports.ConversationStore.history`."""
        query = select(lines).where(_in(conversation)).order_by(lines.c.position.desc())
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

    async def _append(self, conversation: Conversation, added: Sequence[ConversationLine]) -> int:
        async with self._database.write("append") as connection:
            new = await _unknown(connection, conversation, added)
            last = select(func.max(lines.c.position)).where(_in(conversation))
            length: int = (await connection.execute(last)).scalar() or 0
            if new:
                values = [
                    _row(conversation, line, length + index) for index, line in enumerate(new, 1)
                ]
                await connection.execute(insert(lines), values)
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
