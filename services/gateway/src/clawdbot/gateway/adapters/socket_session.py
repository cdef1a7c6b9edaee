"""One WebSocket connection from its first frame to its end, whatever transport carries it."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4

from clawdbot.gateway.adapters import metrics, socket_frames
from clawdbot.gateway.adapters.jwt_auth import Identity, Tokens
from clawdbot.gateway.adapters.socket_frames import (
    BadFrame,
    BadRequest,
    Connect,
    Method,
    Ping,
    Refresh,
    Request,
    Send,
    Subscribe,
    Unsubscribe,
    read_request,
)
from clawdbot.gateway.adapters.socket_outbox import Outbox, Overflow
from clawdbot.gateway.domain import sockets
from clawdbot.gateway.domain.api_messages import api_place, api_submission
from clawdbot.gateway.domain.messages import API, Submission
from clawdbot.gateway.domain.sockets import Ending, Place, StoredReply
from clawdbot.gateway.handlers.messages import Accept
from clawdbot.gateway.handlers.replies import Feed, Follower
from clawdbot.gateway.ports.reply_log import ReplyLog
from clawdbot.runtime.telemetry import SpanKind, current_trace_id, span
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, Conflict, Forbidden, Overloaded, Retryable
from clawdbot.schema.messages import Delta
from clawdbot.schema.principal import Scope

log = logging.getLogger(__name__)

READY_S = 5.0
RETRY_S = 1.0
MAX_UNCHECKED = 3
"""Checks of a token in a row that may fail for reasons of our own before nobody believes it."""
FRAMES_PER_S = 20.0
BURST = 100.0
"""Frames that may come at once; as many again are answered with 429, then the connection ends."""


class Gone(Exception):
    """The peer has left, or the connection was ended."""


class Connection(Protocol):
    """A WebSocket, as far as a session needs it."""

    async def receive(self) -> str:
        """Return the next text frame.

        Raises:
            Gone: there will be none.
        """
        ...

    async def send(self, frame: str) -> None:
        """Return once the transport has taken the frame; a slow reader makes it wait.

        Raises:
            Gone: nobody reads.
        """
        ...

    def trust(self) -> None:
        """Let the peer send as much as somebody we know may."""
        ...

    def end(self, ending: Ending) -> None:
        """Close, without waiting for anything that is still to be sent or read."""
        ...


@dataclass(frozen=True)
class SocketLimits:
    """What one connection may take."""

    conversations: int = 32
    queue_frames: int = 256
    queue_chars: int = 1_048_576
    stall_s: float = 15.0
    """How long the peer may read nothing while something waits for it."""


@dataclass(frozen=True)
class SocketServices:
    """What every session stands on."""

    accept: Accept
    tokens: Tokens
    follower: Follower
    replies: ReplyLog
    limits: SocketLimits


class Session:
    """A connection whose user is known.

    It has no task of its own while nothing is to be sent: whoever serves the connection reads its
    frames here, and a task sends for as long as something waits.
    """

    __slots__ = (
        "_allowance",
        "_allowed_at",
        "_connection",
        "_farewell",
        "_feed",
        "_is_connected",
        "_is_over",
        "_outbox",
        "_promised",
        "_pump",
        "_services",
        "_token",
        "_unchecked",
        "identity",
        "is_busy",
    )

    def __init__(
        self, services: SocketServices, connection: Connection, identity: Identity, token: str
    ) -> None:
        limits = services.limits
        self.identity = identity
        self.is_busy = False
        """Whether a request is being worked on."""
        self._services = services
        self._connection = connection
        self._token = token
        self._unchecked = 0
        """How often in a row it could not be told whether the token is still good."""
        self._feed = Feed(services.follower, services.replies, self, limits.conversations)
        self._outbox = Outbox(limits.queue_frames, limits.queue_chars)
        self._promised: list[str] = []
        """Answers that go out once everything older was sent."""
        self._pump: asyncio.Task[None] | None = None
        self._is_over = self._is_connected = False
        self._farewell: Ending | None = None
        """How it ends once everything was sent."""
        self._allowance, self._allowed_at = BURST, time.monotonic()

    async def serve(self, first: Request) -> None:
        """Answer `first`, a connect, then every frame, until the peer leaves or is sent away."""
        try:
            with self._services.follower.listen(self):
                await self._answer(first)
                if not self._is_connected:
                    self.finish(self._farewell or sockets.BAD_CONNECT)
                while not self._is_over:
                    await self._take(await self._connection.receive())
        except Gone:
            return
        finally:
            self.end(None)

    def finish(self, ending: Ending) -> None:
        """End once what is being done is done and what waits is sent."""
        self._farewell = ending
        self._wake()

    def end(self, ending: Ending | None) -> None:
        """Stop at once; tell the peer why unless it has left already."""
        if self._is_over:
            return
        self._is_over = True
        self._feed.close()
        if self._pump is not None:
            self._pump.cancel()
        if ending is not None:
            metrics.sockets_closed.labels(str(int(ending.code))).inc()
            self._connection.end(ending)
        else:
            metrics.sockets_closed.labels("left").inc()

    def restart(self) -> None:
        """End, since the numbers in the stream mean something else now."""
        self.end(sockets.RESTORED)

    def tick(self) -> None:
        """Send a sign of life, unless something else is on its way."""
        if not self._outbox:
            self._offer("tick", socket_frames.write_tick(time.time()))

    async def check_token(self) -> None:
        """End when the token is no longer good."""
        try:
            identity = await self._services.tokens.identify_token(self._token)
        except Retryable as exc:
            log.warning("a token cannot be checked", extra={"reason": exc.message})
            self._unchecked += 1
            if self._unchecked >= MAX_UNCHECKED:
                self.end(sockets.TRY_LATER)
        except ClawdbotError:
            self.end(sockets.TOKEN_ENDED)
        else:
            self._unchecked = 0
            if Scope.CHAT not in identity.scopes:
                self.end(sockets.NO_SCOPE)

    def hear(self, name: str, stored: StoredReply) -> None:
        """Send a stored reply."""
        self._put(_kind_of(stored), socket_frames.write_stored(name, stored))

    def overhear(self, name: str, delta: Delta) -> None:
        """Send a piece of a reply, if there is room."""
        self._offer("delta", socket_frames.write_delta(name, delta))

    async def _take(self, text: str) -> None:
        try:
            request = read_request(text)
        except BadFrame:
            self.end(sockets.BAD_FRAME)
            return
        except BadRequest as exc:
            metrics.socket_frames.labels("in", "refused").inc()
            if self._is_within_rate(exc.id):
                self._put("res", socket_frames.write_error(exc.id, exc.error))
            return
        metrics.socket_frames.labels("in", request.method).inc()
        if self._is_within_rate(request.id):
            await self._answer(request)

    def _is_within_rate(self, request_id: str) -> bool:
        now = time.monotonic()
        gained = (now - self._allowed_at) * FRAMES_PER_S
        self._allowance = min(BURST, self._allowance + gained) - 1
        self._allowed_at = now
        if self._allowance < -BURST:
            self.end(sockets.TOO_MANY_FRAMES)
        elif self._allowance < 0:
            error = Overloaded("too many frames in a second", retry_after_s=1.0)
            self._put("res", socket_frames.write_error(request_id, error))
        return self._allowance >= 0

    async def _answer(self, request: Request) -> None:
        self.is_busy = True
        try:
            answer = await self._answer_to(request)
        finally:
            self.is_busy = False
        if self._feed.is_behind and isinstance(request.params, Subscribe):
            # Answered when the older replies are sent, so that the client knows that it has them.
            self._promised.append(answer)
            self._wake()
        else:
            self._put("res", answer)

    async def _answer_to(self, request: Request) -> str:
        is_message = isinstance(request.params, Send)
        with span("socket send", kind=SpanKind.SERVER) if is_message else nullcontext():
            try:
                return socket_frames.write_result(request.id, await self._do(request.params))
            except ClawdbotError as exc:
                if is_message:
                    metrics.refused.labels(API, exc.code).inc()
                if isinstance(request.params, Connect) and isinstance(exc, Retryable):
                    self._farewell = sockets.TRY_LATER
                return socket_frames.write_error(request.id, exc)

    async def _do(self, params: Method) -> dict[str, object]:
        match params:
            case Connect():
                return await self._connect(params)
            case Send():
                return await self._send(params)
            case Subscribe():
                return await self._subscribe(params)
            case Unsubscribe():
                self._feed.forget(params.conversation_id)
                return {"conversation_id": params.conversation_id}
            case Refresh():
                await self._refresh(params)
                return {}
            case Ping():
                return {}

    @property
    def _seq(self) -> int:
        return self._services.follower.seq

    async def _connect(self, params: Connect) -> dict[str, object]:
        if self._is_connected:
            raise Conflict("this connection is connected already")
        deadline = Deadline.after(READY_S)
        await self._services.follower.ready(deadline)
        resume = params.resume
        has_gap = resume is not None and await self._has_gap(resume.seq, deadline)
        for name in dict.fromkeys(params.conversations):
            self._feed.watch(self._place(name), None if resume is None else resume.seq)
        self._is_connected = True
        return {
            "user": self.identity.subject,
            # A number from before the stream was restored says nothing.
            "seq": self._seq if resume is None else min(resume.seq, self._seq),
            "gap": has_gap,
            "conversations": self._feed.names,
        }

    async def _has_gap(self, seq: int, deadline: Deadline) -> bool:
        """Return whether replies behind `seq` may be gone."""
        # Another replica may have been faster: here they would be told once more.
        if not await self._services.follower.reach(seq, deadline):
            return True
        first = await self._services.replies.first_kept(deadline=deadline)
        return seq > 0 if first is None else first > seq + 1

    async def _subscribe(self, params: Subscribe) -> dict[str, object]:
        if params.after_seq is not None:
            await self._services.follower.reach(params.after_seq, Deadline.after(READY_S))
        self._feed.watch(self._place(params.conversation_id), params.after_seq)
        return {"conversation_id": params.conversation_id, "seq": self._seq}

    async def _send(self, params: Send) -> dict[str, object]:
        # Hearing comes before publishing: a fast answer would otherwise be missed.
        self._feed.watch(self._place(params.conversation_id))
        # Whoever listens may outlive their token for a heartbeat; nobody speaks with such a one.
        self._services.tokens.recheck(self.identity)
        accepted = await self._services.accept(self._submission(params))
        outcome = "accepted" if accepted.is_new else "repeated"
        metrics.accepted.labels(API, outcome).inc()
        return {
            "message_id": accepted.message.message_id,
            "conversation_id": params.conversation_id,
            "status": outcome,
            "trace_id": current_trace_id(),
        }

    async def _refresh(self, params: Refresh) -> None:
        identity = await self._services.tokens.identify_token(params.token)
        identity.require(Scope.CHAT)
        if (identity.tenant, identity.subject) != (self.identity.tenant, self.identity.subject):
            raise Forbidden("the token is another user's", field="token")
        self.identity, self._token = identity, params.token

    def _submission(self, params: Send) -> Submission:
        return api_submission(
            self.identity,
            params.conversation_id,
            params.content,
            own_id=params.message_id or uuid4().hex,
            attachments=tuple(item.attachment() for item in params.attachments),
        )

    def _place(self, name: str) -> Place:
        tenant, place = self.identity.tenant, api_place(self.identity, name)
        return Place(name, tenant, self._services.accept.conversation(tenant, API, place))

    def _put(self, kind: str, frame: str) -> None:
        if self._is_over:
            return
        try:
            self._outbox.put(frame)
        except Overflow:
            self.end(sockets.TOO_SLOW)
            return
        metrics.socket_frames.labels("out", kind).inc()
        self._wake()

    def _offer(self, kind: str, frame: str) -> None:
        if not self._is_over and self._outbox.offer(frame):
            metrics.socket_frames.labels("out", kind).inc()
            self._wake()

    def _wake(self) -> None:
        if self._pump is None and not self._is_over:
            # Owned by this session, which cancels it when it ends.
            self._pump = asyncio.create_task(self._run_pump(), name="socket-send")

    async def _run_pump(self) -> None:
        ending: Ending | None = sockets.INTERNAL
        try:
            async with asyncio.timeout(None) as stall:
                await self._send_all(stall)
            ending = None
        except TimeoutError:
            ending = sockets.TOO_SLOW
        except Gone:
            # Whoever reads the connection hears of it, too.
            ending = None
        finally:
            self._pump = None
            if ending is not None:
                self.end(ending)

    async def _send_all(self, stall: asyncio.Timeout) -> None:
        loop = asyncio.get_running_loop()
        while self._outbox or self._feed.is_behind or self._promised:
            frame = await self._next_frame()
            if frame is not None:
                stall.reschedule(loop.time() + self._services.limits.stall_s)
                await self._connection.send(frame)
                stall.reschedule(None)
        if self._farewell is not None and not self.is_busy:
            self._pump = None
            self.end(self._farewell)

    async def _next_frame(self) -> str | None:
        if self._outbox:
            return self._outbox.pop()
        if self._feed.is_behind:
            return await self._next_missed()
        return self._promised.pop(0)

    async def _next_missed(self) -> str | None:
        try:
            found = await self._feed.next()
        except Retryable as exc:
            log.warning("missed replies cannot be read", extra={"reason": exc.message})
            await asyncio.sleep(RETRY_S)
            return None
        if found is None:
            return None
        metrics.socket_frames.labels("out", _kind_of(found[1])).inc()
        return socket_frames.write_stored(*found)


def _kind_of(stored: StoredReply) -> str:
    return "message" if stored.message is not None else "error"
