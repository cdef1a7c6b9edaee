"""Frames of a WebSocket as JSON: requests strictly read, answers and events written.

A request is `{"type": "req", "id", "method", "params"}`, its answer `{"type": "res", "id", "ok"}`
with `result` or `error`; whatever else we say is `{"type": "event", "id", "event", "data"}`, with
`seq` when the stream keeps it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, Strict

from clawdbot.gateway.adapters.fields import (
    Attachments,
    Body,
    Content,
    Name,
    read_fields,
    require_something_said,
)
from clawdbot.gateway.adapters.problems import problem
from clawdbot.gateway.adapters.records import answer_record
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.gateway.domain.messages import error_of
from clawdbot.gateway.domain.sockets import StoredReply
from clawdbot.schema.errors import ClawdbotError, Internal, InvalidMessage, NotFound
from clawdbot.schema.messages import Delta

MAX_ID_CHARS = 64
MAX_TOKEN_CHARS = 8192
MAX_CONVERSATIONS = 1000

RequestId = Annotated[Name, Field(max_length=MAX_ID_CHARS)]
Token = Annotated[str, Field(min_length=1, max_length=MAX_TOKEN_CHARS)]
Seq = Annotated[int, Field(ge=0, le=2**53)]
Names = Annotated[tuple[Name, ...], Field(max_length=MAX_CONVERSATIONS), Strict(False)]


class Resume(Body):
    """Where an earlier connection broke off."""

    seq: Seq
    """The highest `seq` that came on it, or the one that `connect` was answered with."""


class Connect(Body):
    """Who is talking, and what is to be heard from the beginning."""

    token: Token | None = None
    """None when the handshake carried it."""
    conversations: Names = ()
    resume: Resume | None = None


class Send(Body):
    """A message, as `POST /api/chat` takes it."""

    conversation_id: Name
    content: Content = ""
    message_id: Name | None = None
    attachments: Attachments = ()


class Subscribe(Body):
    """A conversation to hear of."""

    conversation_id: Name
    after_seq: Seq | None = None
    """Replies behind this one come first; without it only what is stored from now on."""


class Unsubscribe(Body):
    """A conversation to hear no more of."""

    conversation_id: Name


class Refresh(Body):
    """Another token of the same user, so that the connection outlives the first."""

    token: Token


class Ping(Body):
    """Nothing but the question whether somebody is there."""


Method = Connect | Send | Subscribe | Unsubscribe | Refresh | Ping
METHODS: Mapping[str, type[Method]] = {
    "connect": Connect,
    "send": Send,
    "subscribe": Subscribe,
    "unsubscribe": Unsubscribe,
    "refresh": Refresh,
    "ping": Ping,
}


class _Head(Body):
    """What every request has."""

    type: str = Field(pattern="^req$")
    id: RequestId
    method: Annotated[str, Field(max_length=64)]
    params: dict[str, object] = {}


class BadFrame(InvalidMessage):
    """Not a request at all, so that nobody knows which one to answer."""


class BadRequest(Exception):
    """A request that has an id to answer, and something wrong.

    Attributes:
        id: the request's own.
        error: what is wrong.
    """

    def __init__(self, request_id: str, error: ClawdbotError) -> None:
        super().__init__(error.message)
        self.id = request_id
        self.error = error


@dataclass(frozen=True, slots=True)
class Request:
    """A frame of a client."""

    id: str
    method: str
    params: Method


def read_request(text: str) -> Request:
    """Return the request in `text`.

    Raises:
        BadFrame: it is none.
        BadRequest: it is one, of an unknown method or with wrong parameters.
    """
    try:
        head = read_fields(_Head, parse_object(text.encode("utf-8", "surrogatepass")))
    except (BadPayload, InvalidMessage) as exc:
        raise BadFrame(exc.message) from exc
    kind = METHODS.get(head.method)
    if kind is None:
        known = ", ".join(METHODS)
        raise BadRequest(
            head.id, NotFound("no such method", field="method", fix=f"use one of {known}")
        )
    try:
        params = read_fields(kind, head.params)
        if isinstance(params, Send):
            require_something_said(params.content, params.attachments)
    except InvalidMessage as exc:
        raise BadRequest(head.id, exc) from exc
    return Request(head.id, head.method, params)


def write_result(request_id: str, result: Mapping[str, object]) -> str:
    """Return the answer to a request that went well."""
    return _write({"type": "res", "id": request_id, "ok": True, "result": result})


def write_error(request_id: str, error: ClawdbotError) -> str:
    """Return the answer to a request that did not."""
    told = problem(error)
    if error.retry_after_s is not None:
        told["retry_after_s"] = error.retry_after_s
    return _write({"type": "res", "id": request_id, "ok": False, "error": told})


def write_tick(at: float) -> str:
    """Return the sign of life; `at` is Unix time in seconds."""
    seconds = int(at)
    return _write({"type": "event", "id": f"tick.{seconds}", "event": "tick", "data": {}})


def write_delta(name: str, delta: Delta) -> str:
    """Return a piece of a reply that is being written."""
    data = {
        "message_id": delta.message_id,
        "conversation_id": name,
        "index": delta.index,
        "text": delta.text,
    }
    event_id = f"{delta.message_id}.delta.{delta.index}"
    return _write({"type": "event", "id": event_id, "event": "delta", "data": data})


def write_stored(name: str, stored: StoredReply) -> str:
    """Return a stored reply, or the error that took its place."""
    event, data = stored_record(name, stored)
    frame = {"type": "event", "id": f"reply.{stored.seq}", "event": event, "seq": stored.seq}
    return _write({**frame, "data": data})


def stored_record(name: str, stored: StoredReply) -> tuple[str, dict[str, object]]:
    """Return the kind of event that tells of a stored reply, and its data."""
    reply = stored.message
    if reply is None:
        unreadable = Internal("a reply is stored that cannot be read")
        return "error", {"conversation_id": name, "error": problem(unreadable, {"trace_id": None})}
    about: dict[str, object] = {"part": reply.part, "is_final": reply.is_final}
    if error := error_of(reply):
        about |= {"message_id": reply.message_id, "conversation_id": name}
        told = reply.metadata.error
        # The trace in which it failed leads to the cause.
        trace_id = told.trace_id if told else None
        return "error", {**about, "error": problem(error, {"trace_id": trace_id})}
    return "message", {
        **answer_record(reply, name),
        **about,
        "timestamp": reply.created_at_ms // 1000,
    }


def _write(frame: Mapping[str, object]) -> str:
    return json.dumps(frame, ensure_ascii=False, separators=(",", ":"))
