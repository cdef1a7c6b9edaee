"""Errors on HTTP: problem details that name what is wrong and what to do, and echo nothing.

Source: RFC 9457 (problem details), RFC 9110 (Retry-After, WWW-Authenticate, Allow).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from clawdbot.gateway.adapters.refusals import BadPayload, MethodNotAllowed, TokenRefused
from clawdbot.runtime.telemetry import current_trace_id
from clawdbot.schema.errors import ClawdbotError, Internal, NotFound, Rejected

MEDIA_TYPE = "application/problem+json"
UNAVAILABLE_RETRY_S = 5.0
"""What to wait after a 503 when the error itself does not say."""


def problem(
    error: ClawdbotError, extensions: Mapping[str, object] | None = None
) -> dict[str, object]:
    """Return the problem details of `error`; members without a value are left out."""
    members: dict[str, object] = {
        "type": f"urn:problem-type:clawdbot:{error.code}",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        "field": error.field,
        "fix": error.fix,
        "trace_id": current_trace_id(),
        **(extensions or {}),
    }
    return {name: value for name, value in members.items() if value is not None}


def problem_response(
    error: ClawdbotError,
    extensions: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the answer that tells of `error`."""
    return Response(
        json.dumps(problem(error, extensions), ensure_ascii=False).encode(),
        status_code=error.status,
        headers={**headers_for(error), **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def install_problem_handlers(app: FastAPI) -> None:
    """Let every error that leaves a route become problem details."""
    app.add_exception_handler(ClawdbotError, _on_our_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, on_bug)


def headers_for(error: ClawdbotError) -> dict[str, str]:
    """Return the headers that go with `error`, whatever its body looks like."""
    headers: dict[str, str] = {}
    wait_s = error.retry_after_s
    if wait_s is None and error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        wait_s = UNAVAILABLE_RETRY_S
    if wait_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    if isinstance(error, TokenRefused):
        headers["WWW-Authenticate"] = 'Bearer realm="clawdbot"'
    # What is left of the body was not read, so the connection cannot carry another request.
    if error.status in {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}:
        headers["Connection"] = "close"
    return headers


async def _on_our_error(request: Request, error: Exception) -> Response:  # noqa: ARG001 -- Starlette's signature
    if not isinstance(error, ClawdbotError):
        raise error
    return problem_response(error)


async def _on_http_error(request: Request, error: Exception) -> Response:  # noqa: ARG001 -- as above
    if not isinstance(error, HTTPException):
        raise error
    return problem_response(_as_ours(error), headers=error.headers)


async def on_bug(request: Request, error: Exception) -> Response:  # noqa: ARG001 -- as above
    """Return what is said of an error that nobody expected; Starlette logs it."""
    return problem_response(Internal("internal error"))


def _as_ours(error: HTTPException) -> Rejected:
    if error.status_code == HTTPStatus.NOT_FOUND:
        return NotFound("nothing is served here")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return MethodNotAllowed("this path does not take this method")
    return BadPayload("the request cannot be understood")
