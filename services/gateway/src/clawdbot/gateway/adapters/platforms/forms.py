"""Bodies that are HTML forms, `application/x-www-form-urlencoded` (WHATWG URL, section 5)."""

from __future__ import annotations

from urllib.parse import parse_qsl

from clawdbot.gateway.adapters.refusals import BadPayload

MAX_FORM_FIELDS = 64


def is_form(payload: bytes) -> bool:
    """Return whether `payload` is a form; what is signed decides, not an unsigned header."""
    return not payload.lstrip().startswith((b"{", b"["))


def parse_form(payload: bytes) -> dict[str, str]:
    """Return the fields of a form.

    Raises:
        BadPayload: not UTF-8, a name twice, too many fields, or none.
    """
    try:
        pairs = parse_qsl(
            payload.decode("utf-8"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_FORM_FIELDS,
        )
    except ValueError as exc:
        raise BadPayload("the body is not a form") from exc
    found = dict(pairs)
    if not found or len(found) != len(pairs):
        raise BadPayload("the body has no field, or one twice")
    return found
