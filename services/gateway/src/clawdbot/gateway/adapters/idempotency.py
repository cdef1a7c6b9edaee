"""`Idempotency-Key`: a request that may be repeated under a key of its sender's.

Source: draft-ietf-httpapi-idempotency-key-header; the key is taken as it is, quoted or not.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from clawdbot.gateway.domain.idempotency import HEADER
from clawdbot.gateway.domain.messages import RequestKey
from clawdbot.schema.errors import InvalidMessage

_NAME = HEADER.lower().encode()
_KEY = re.compile(rb"[\x21-\x7e]{1,255}")


def read_key(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the request's key, or None without one.

    Raises:
        InvalidMessage: several, or one that is empty, too long or not of visible ASCII.
    """
    values = [value for name, value in headers if name == _NAME]
    if not values:
        return None
    if len(values) > 1 or not _KEY.fullmatch(values[0]):
        raise InvalidMessage(
            f"the header {HEADER} cannot be used",
            field=HEADER,
            fix="send one key of 1 to 255 visible ASCII characters",
        )
    return values[0].decode("ascii")


def request_key(
    key: str | None, holder: str, raw: bytes, message_id: str | None
) -> RequestKey | None:
    """Return what the request of the body `raw` is repeated under, or None without a key.

    Raises:
        InvalidMessage: the body says `message_id`, too, and only one of them can name the message.
    """
    if key is None:
        return None
    if message_id is not None:
        raise InvalidMessage(
            f"the header {HEADER} and the field 'message_id' cannot be combined",
            field="message_id",
            fix=f"send either {HEADER} or 'message_id'",
        )
    return RequestKey(holder, key, hashlib.sha256(raw).digest())
