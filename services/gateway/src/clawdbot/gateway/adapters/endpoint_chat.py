"""`POST /api/chat`: a question with a token, and its answer, whole or while it is written."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clawdbot.gateway.adapters import metrics, sse
from clawdbot.gateway.adapters.body import BodyLimits, Gate, read_body
from clawdbot.gateway.adapters.chat import ChatRequest, parse_chat
from clawdbot.gateway.adapters.departure import CLIENT_LEFT
from clawdbot.gateway.adapters.idempotency import read_key
from clawdbot.gateway.adapters.jwt_auth import Tokens
from clawdbot.gateway.adapters.problems import problem, problem_response
from clawdbot.gateway.adapters.records import Links, answer_record
from clawdbot.gateway.domain.messages import API, Accepted, ChatEvent, Waiting, error_of
from clawdbot.gateway.handlers.messages import Converse
from clawdbot.schema.errors import ClawdbotError, DeadlineExceeded, Unavailable
from clawdbot.schema.messages import Delta, OutboundMessage
from clawdbot.schema.principal import Scope


@dataclass(frozen=True)
class ChatEndpoint:
    """Asks on behalf of a token's holder and waits with them."""

    converse: Converse
    tokens: Tokens
    limits: BodyLimits
    gate: Gate
    links: Links

    async def respond(self, request: Request) -> Response:
        """Return the answer, a stream of events, or problem details."""
        try:
            identity = await self.tokens.identify(request)
            identity.require(Scope.CHAT)
            key = read_key(request.scope["headers"])
            chat = parse_chat(await read_body(request, self.limits, self.gate), identity, key)
            return await self._begin(request, chat)
        except ClawdbotError as exc:
            metrics.refused.labels(API, exc.code).inc()
            return problem_response(exc)

    async def _begin(self, request: Request, chat: ChatRequest) -> Response:
        events = self._events(chat)
        # What fails before the message is kept is still a plain status, stream or not.
        try:
            first = await anext(events)
        except Unavailable as exc:
            metrics.refused.labels(API, exc.code).inc()
            return problem_response(exc, _again(chat))
        if not isinstance(first, Accepted):
            raise TypeError("a conversation begins with its message being accepted")
        metrics.accepted.labels(API, "accepted" if first.is_new else "repeated").inc()
        if chat.wants_stream or _accepts_events(request):
            return sse.EventStream(self._chunks(events, first, chat))
        return await self._whole(request, events, first, chat)

    async def _events(self, chat: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        with self.gate.enter(), metrics.chats.track_inprogress():
            async with aclosing(self.converse(chat.submission)) as events:
                async for event in events:
                    yield event

    async def _whole(
        self,
        request: Request,
        events: AsyncGenerator[ChatEvent, None],
        accepted: Accepted,
        chat: ChatRequest,
    ) -> Response:
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, OutboundMessage):
                        return self._answer(event, chat)
                    if isinstance(event, Waiting) and await request.is_disconnected():
                        break
        except DeadlineExceeded:
            return problem_response(_late(), self._ids(accepted.message.message_id))
        except ClawdbotError as exc:
            metrics.refused.labels(API, exc.code).inc()
            return problem_response(exc, self._ids(accepted.message.message_id))
        return Response(status_code=CLIENT_LEFT)

    def _answer(self, reply: OutboundMessage, chat: ChatRequest) -> Response:
        if error := error_of(reply):
            return problem_response(error, self._about(reply))
        return JSONResponse(answer_record(reply, chat.conversation_id))

    async def _chunks(
        self, events: AsyncGenerator[ChatEvent, None], accepted: Accepted, chat: ChatRequest
    ) -> AsyncGenerator[bytes, None]:
        ids = self._ids(accepted.message.message_id)
        async with aclosing(events):
            yield sse.event("accepted", {**ids, "conversation_id": chat.conversation_id})
            try:
                async for event in events:
                    yield self._chunk(event, chat)
            except DeadlineExceeded:
                yield sse.event("error", problem(_late(), ids))
            except ClawdbotError as exc:
                yield sse.event("error", problem(exc, ids))

    def _chunk(self, event: ChatEvent, chat: ChatRequest) -> bytes:
        if isinstance(event, Delta):
            return sse.event("delta", {"index": event.index, "text": event.text})
        if not isinstance(event, OutboundMessage):
            return sse.HEARTBEAT
        if error := error_of(event):
            return sse.event("error", problem(error, self._about(event)))
        return sse.event("message", answer_record(event, chat.conversation_id))

    def _ids(self, message_id: str) -> dict[str, object]:
        return {"message_id": message_id, "status_url": self.links.status_of(message_id)}

    def _about(self, reply: OutboundMessage) -> dict[str, object]:
        told = reply.metadata.error
        about = self._ids(reply.message_id)
        # The trace in which it failed leads to the cause; this request may be a later one.
        if trace_id := (told.trace_id if told else None) or reply.metadata.trace_id:
            about["trace_id"] = trace_id
        return about


def _late() -> DeadlineExceeded:
    return DeadlineExceeded(
        "the answer takes longer than this request may wait",
        fix="ask the status_url later; the answer is kept",
    )


def _again(chat: ChatRequest) -> dict[str, object]:
    # Whether it is kept is not known; under this id it is kept once however often it is sent.
    if chat.submission.request_key is not None:
        return {"fix": "send the same request again with its Idempotency-Key; it is answered once"}
    return {
        "message_id": chat.submission.own_id,
        "fix": "send the same request again with this message_id; it is answered once",
    }


def _accepts_events(request: Request) -> bool:
    return sse.MEDIA_TYPE in request.headers.get("accept", "").lower()
