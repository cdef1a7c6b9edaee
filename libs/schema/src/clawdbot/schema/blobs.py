"""What is larger than a message may be: kept in the object store, named by what it holds."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from clawdbot.schema.wire import Wire

INLINE_BYTES = 262_144
"""What is longer than this travels as a reference, not within a message."""
MEDIA_TYPE = r"^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$"
"""RFC 6838 section 4.2, in lower case and without parameters."""
UNKNOWN_TYPE = "application/octet-stream"
BLOB_TTL = timedelta(days=3)
"""As long as `INBOUND` keeps the message that it came with."""


class BlobRef(Wire):
    """Names bytes in the object store `blobs`; whoever reads them checks them against it."""

    SCHEMA = "blob_ref/1"

    sha256: str = Field(min_length=64, max_length=64, pattern=r"^[0-9a-f]{64}$")
    """Of the content, hex."""
    size_bytes: int = Field(ge=0)
    media_type: str = Field(default=UNKNOWN_TYPE, max_length=255)
    """As whoever put it was told; nobody looked into the content."""
    expires_at_ms: int = Field(ge=0)
    """From then on it is gone, Unix milliseconds."""
