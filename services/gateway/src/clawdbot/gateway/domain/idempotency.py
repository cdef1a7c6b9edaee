"""Keys under which a request may be repeated."""

from __future__ import annotations

from typing import ClassVar

from clawdbot.schema.errors import Conflict
from clawdbot.schema.wire import Wire

HEADER = "Idempotency-Key"


class KeyReused(Conflict):
    """The key already names a request with another body."""

    code: ClassVar[str] = "idempotency_key_reused"


class ClaimedKey(Wire):
    """The request that a key stands for, as its bucket keeps it for a day."""

    SCHEMA = "idempotency_key/1"

    body_sha256: bytes
