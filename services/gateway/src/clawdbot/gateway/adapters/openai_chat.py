"""`POST /v1/chat/completions`: answers for programs that speak to OpenAI."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clawdbot.gateway.adapters import metrics, sse
from clawdbot.gateway.adapters.departure import CLIENT_LEFT, ClientLeft, while_connected
from clawdbot.gateway.adapters.jwt_auth import Identity
from clawdbot.gateway.adapters.openai_assistant import IDEMPOTENCY_KEY, submission_of
from clawdbot.gateway.adapters.openai_entrance import Entrance
from clawdbot.gateway.adapters.openai_errors import error_record, error_response, request_id
from clawdbot.gateway.adapters.openai_records import Completion
from clawdbot.gateway.adapters.openai_requests import CompletionRequest, parse_completion
from clawdbot.gateway.domain.completions import (
    CallBegun,
    CallPiece,
    CompletionEvent,
    Finished,
    Piece,
)
from clawdbot.gateway.domain.messages import OPENAI, Accepted
from clawdbot.gateway.handlers.completions import AskAssistant, Complete
from clawdbot.schema.errors import ClawdbotError, InvalidMessage, Overloaded, Unavailable

Events = AsyncGenerator[CompletionEvent, None]
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class OpenAIChatEndpoint:
    """Asks a bare model or the assistant, as the model's name says."""

    complete: Complete
    assistant: AskAssistant
    entrance: Entrance

    async def respond(self, request: Request) -> Response:
        """Return the completion, a stream of chunks, or an error of OpenAI's form."""
        try:
            identity = await self.entrance.identify(request)
            asked = parse_completion(await self.entrance.read(request))
            exchange = _Exchange(asked, self._events(asked, request, identity), request)
        except ClawdbotError as exc:
            metrics.refused.labels(OPENAI, exc.code).inc()
            return error_response(exc)
        return await exchange.respond()

    def _events(self, asked: CompletionRequest, request: Request, identity: Identity) -> Events:
        if asked.is_for_assistant:
            submission = submission_of(asked, request.headers, identity)
            return self._within_bounds(self.assistant(submission), identity)
        answer = self.complete(asked.model, asked.chat_request(), asked.toolbox)
        return self._within_bounds(answer, identity)

    async def _within_bounds(self, answer: Events, identity: Identity) -> Events:
        async with aclosing(answer) as events:
            with self.entrance.enter(identity), metrics.chats.track_inprogress():
                async for event in events:
                    if isinstance(event, Accepted):
                        outcome = "accepted" if event.is_new else "repeated"
                        metrics.accepted.labels(event.message.channel, outcome).inc()
                    yield event


class _Exchange:
    """One request on its way to its answer."""

    def __init__(self, asked: CompletionRequest, events: Events, request: Request) -> None:
        self._asked = asked
        self._events = events
        self._request = request
        self._is_kept = False
        self._completion = Completion(
            f"chatcmpl-{uuid4().hex}", int(time.time()), asked.model, shows_usage=asked.wants_usage
        )

    async def respond(self) -> Response:
        """Return the answer, whole or as a stream, or the error that came before any of it."""
        try:
            # What fails before the first piece is still a plain status, stream or not.
            first = await self._first()
            if self._asked.wants_stream:
                return self._stream(first)
            return await while_connected(self._request, self._whole(first))
        except ClientLeft:
            return Response(status_code=CLIENT_LEFT)
        except ClawdbotError as exc:
            metrics.refused.labels(OPENAI, exc.code).inc()
            return error_response(self._named(exc), is_repeatable=self._is_repeatable(exc))

    async def _first(self) -> CompletionEvent:
        # A message is kept whoever waits for its answer; a bare model would work for nobody.
        first = anext(self._events)
        if not self._asked.is_for_assistant:
            return await while_connected(self._request, first)
        event = await first
        self._is_kept = isinstance(event, Accepted)
        return event

    async def _whole(self, event: CompletionEvent) -> Response:
        async with aclosing(self._events) as events:
            while not isinstance(event, Finished):
                event = await anext(events)
        return JSONResponse(self._completion.whole(event), headers=request_id())

    def _stream(self, first: CompletionEvent) -> Response:
        stream = sse.EventStream(self._chunks(first))
        stream.headers.update(request_id())
        return stream

    async def _chunks(self, first: CompletionEvent) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._events) as events:
            yield sse.data(self._completion.begun())
            try:
                for chunk in self._rendered(first):
                    yield chunk
                async for event in events:
                    for chunk in self._rendered(event):
                        yield chunk
            except ClawdbotError as exc:
                metrics.refused.labels(OPENAI, exc.code).inc()
                yield sse.data(error_record(self._named(exc)))

    def _rendered(self, event: CompletionEvent) -> list[bytes]:
        match event:
            case Piece(text):
                return [sse.data(self._completion.piece(text))]
            case CallBegun(name):
                return [sse.data(self._completion.call_begun(name))]
            case CallPiece(arguments):
                return [sse.data(self._completion.call_piece(arguments))]
            case Finished():
                return self._ended(event)
        return [sse.HEARTBEAT]

    def _ended(self, answer: Finished) -> list[bytes]:
        if answer.rest is None:
            raise Unavailable(
                "the answer was written anew while it was sent",
                fix="ask again without stream and with the same Idempotency-Key",
            )
        records = [self._completion.piece(answer.rest)] if answer.rest else []
        records.append(self._completion.ended(answer))
        if self._asked.wants_usage:
            records.append(self._completion.usage(answer.usage))
        return [*map(sse.data, records), DONE]

    def _named(self, error: ClawdbotError) -> ClawdbotError:
        """Return `error` as it is to whoever sent tools, and never saw the schema of a call."""
        if error.field != "json_schema" or self._asked.toolbox is None:
            return error
        return InvalidMessage(error.message, field="tools", fix=error.fix)

    def _is_repeatable(self, error: ClawdbotError) -> bool:
        """Whether the same request again does not become a second message."""
        if not self._asked.is_for_assistant or IDEMPOTENCY_KEY in self._request.headers:
            return True
        # A message that was sent away at once is not kept; of any other nobody can be sure.
        return isinstance(error, Overloaded) and not self._is_kept
