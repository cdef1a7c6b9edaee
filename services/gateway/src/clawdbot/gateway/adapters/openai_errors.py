"""Errors as OpenAI's clients read them.

Source: OpenAI API reference, error codes; the official Python client maps the status to a class
and shows `message`, `type`, `param` and `code`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clawdbot.gateway.adapters.problems import headers_for
from clawdbot.runtime.telemetry import current_trace_id
from clawdbot.schema.errors import ClawdbotError, InvalidMessage, NotFound

_CODES = {
    "unauthenticated": "invalid_api_key",
    "forbidden": "insufficient_permissions",
    "overloaded": "rate_limit_exceeded",
    "rate_limited": "rate_limit_exceeded",
    "invalid": "invalid_value",
}
_PARAMS = {"json_schema": "response_format", "texts": "input"}
"""What fields are called here, by what they are called on the bus."""


class Unsupported(InvalidMessage):
    """A parameter whose meaning would be lost if it were ignored."""

    code: ClassVar[str] = "unsupported_parameter"


def error_record(error: ClawdbotError) -> dict[str, object]:
    """Return the error object; what helps is part of the message, as there is no other place."""
    message = f"{error.message}; {error.fix}" if error.fix else error.message
    field = error.field and _PARAMS.get(error.field, error.field)
    return {
        "error": {
            "message": message,
            "type": _type_of(error),
            "param": field,
            "code": _CODES.get(error.code, error.code),
        }
    }


def error_response(error: ClawdbotError, *, is_repeatable: bool = True) -> Response:
    """Return the answer that tells of `error`.

    Args:
        error: what went wrong.
        is_repeatable: False tells the official clients, which otherwise send a request again
            after 408, 409, 429 and 5xx, not to.
    """
    headers = {**headers_for(error), **request_id()}
    if not is_repeatable:
        headers["X-Should-Retry"] = "false"
    return JSONResponse(error_record(error), status_code=_status_of(error), headers=headers)


def request_id() -> dict[str, str]:
    """Return the header that the clients show as a request's id: the trace's."""
    trace_id = current_trace_id()
    return {"X-Request-ID": trace_id} if trace_id else {}


async def respond_unknown(request: Request) -> Response:
    """Answer what is asked below `/v1` and not served."""
    del request
    fix = "see docs/openai.md for what is served below /v1"
    return error_response(NotFound("nothing of that method and path is served here", fix=fix))


def _status_of(error: ClawdbotError) -> int:
    # OpenAI has no 422; its clients would not show a BadRequestError.
    is_invalid = error.status == HTTPStatus.UNPROCESSABLE_ENTITY
    return HTTPStatus.BAD_REQUEST if is_invalid else error.status


def _type_of(error: ClawdbotError) -> str:
    if error.status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_error"
    is_ours = error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return "server_error" if is_ours else "invalid_request_error"
