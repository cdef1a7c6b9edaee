"""`/api/conversations`: a token's holder sees, reads and erases their own conversations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clawdbot.gateway.adapters import metrics
from clawdbot.gateway.adapters.body import Gate
from clawdbot.gateway.adapters.cursors import cursor, read_cursor
from clawdbot.gateway.adapters.fields import read_name
from clawdbot.gateway.adapters.jwt_auth import Identity, Tokens
from clawdbot.gateway.domain.messages import API
from clawdbot.gateway.handlers.callers import Callers
from clawdbot.gateway.handlers.conversations import OwnConversations
from clawdbot.schema.errors import ClawdbotError, InvalidMessage, NotFound
from clawdbot.schema.memory import ConversationLine, ConversationSummary
from clawdbot.schema.principal import Scope

LIST = "/api/conversations"
ONE = "/api/conversations/{name:path}"
MESSAGES = "/api/conversations/{name:path}/messages"
"""A name may hold slashes, which are encoded in the path and decoded before it is routed."""
MAX_PAGE = 100
DEFAULT_PAGE = 50


@dataclass(frozen=True)
class ConversationsEndpoint:
    """Asks the memory on behalf of a token's holder."""

    conversations: OwnConversations
    tokens: Tokens
    gate: Gate
    callers: Callers | None = None
    """None lets every token's holder ask as often as they like."""

    async def list(self, request: Request) -> Response:
        """Return a page of conversations, the latest first."""
        with _counted():
            author = await self._author(request, Scope.MEMORY_READ)
            before = _parameter(request, "before")
            end = None if before is None else read_cursor(before, "before")
            with self.gate.enter():
                page = await self.conversations.list_latest(author, _limit(request), end)
        last = page.last
        return JSONResponse(
            {
                "conversations": [_summary_record(each) for each in page.items],
                "next": None if last is None else cursor(last.updated_at_ms, last.id),
            }
        )

    async def read(self, request: Request) -> Response:
        """Return a page of what was said, the latest page first, each in the order of time."""
        with _counted():
            author = await self._author(request, Scope.MEMORY_READ)
            name = _name(request, below=(b"messages",))
            before = _parameter(request, "before")
            end = None if before is None else read_cursor(before, "before")[1]
            with self.gate.enter():
                page = await self.conversations.history(author, name, _limit(request), end)
        last = page.last
        return JSONResponse(
            {
                "messages": [_line_record(line) for line in page.items],
                "next": None if last is None else cursor(last.said_at_ms, last.id),
            }
        )

    async def forget(self, request: Request) -> Response:
        """Erase a conversation; 204 also when there is none."""
        with _counted():
            author = await self._author(request, Scope.MEMORY_WRITE)
            name = _name(request)
            with self.gate.enter():
                await self.conversations.forget(author, name)
        return Response(status_code=204)

    async def _author(self, request: Request, scope: Scope) -> Identity:
        identity = await self.tokens.identify(request)
        identity.require(scope)
        if self.callers is not None:
            self.callers.count(identity.tenant, identity.subject)
        return identity


def conversations_template(path: str) -> str | None:
    """Return what names the route of a path of conversations; None for any other path."""
    if path == LIST:
        return LIST
    if not path.startswith(f"{LIST}/"):
        return None
    return f"{LIST}/{{name}}/messages" if path.endswith("/messages") else f"{LIST}/{{name}}"


@contextmanager
def _counted() -> Iterator[None]:
    try:
        yield
    except ClawdbotError as exc:
        metrics.refused.labels(API, exc.code).inc()
        raise


def _name(request: Request, below: tuple[bytes, ...] = ()) -> str:
    """Return the conversation's name, from the path as it was sent: `%2F` separates nothing."""
    segments = request.scope["raw_path"].split(b"/")[3:]
    if tuple(segments[1:]) != below:
        raise NotFound("nothing is served here", fix="encode the slashes of a name as %2F")
    try:
        name = unquote_to_bytes(segments[0]).decode()
    except UnicodeDecodeError as exc:
        raise InvalidMessage("the name is not UTF-8", field="conversation_id") from exc
    return read_name(name, "conversation_id")


def _parameter(request: Request, name: str) -> str | None:
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise InvalidMessage(f"{name!r} is there twice", field=name, fix="send it once")
    return values[0] if values else None


def _limit(request: Request) -> int:
    text = _parameter(request, "limit")
    if text is None:
        return DEFAULT_PAGE
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_PAGE:
        return int(text[:9])
    fix = f"send a whole number from 1 to {MAX_PAGE}"
    raise InvalidMessage("'limit' cannot be used", field="limit", fix=fix)


def _summary_record(summary: ConversationSummary) -> dict[str, object]:
    return {
        "conversation_id": summary.name,
        "messages": summary.length,
        "started_at": summary.started_at_ms // 1000,
        "updated_at": summary.updated_at_ms // 1000,
    }


def _line_record(line: ConversationLine) -> dict[str, object]:
    return {
        "id": line.id,
        "role": line.speaker.value,
        "content": line.content,
        "timestamp": line.said_at_ms // 1000,
    }
