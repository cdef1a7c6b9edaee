"""Identifiers: tokens that are safe in a subject, derived by keyed hash from what platforms send.

An id from outside never becomes part of an address: whoever can choose it could otherwise add a
token or a wildcard, and short ids (phone numbers) could be guessed from a plain hash.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b32encode
from functools import lru_cache
from typing import NewType

from clawdbot.schema.errors import InvalidMessage

Tenant = NewType("Tenant", str)
Channel = NewType("Channel", str)
"""A platform account that messages come from and replies go to, such as `webhook`."""
ConversationId = NewType("ConversationId", str)
MessageId = NewType("MessageId", str)

TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")


def token(value: str, field: str) -> str:
    """Return `value` when it may stand as one token of a subject.

    Raises:
        InvalidMessage: `value` has other characters than `A-Z a-z 0-9 _ -`, none, or over 64.
    """
    if not TOKEN.fullmatch(value):
        raise InvalidMessage(
            f"{field} {value[:80]!r} is not 1 to 64 of A-Z a-z 0-9 _ -", field=field
        )
    return value


REMEMBERED = 8192
"""Conversations and users whose ids are not derived anew, each a kilobyte at the most."""


class IdKey:
    """Derives ids under a secret key, so that nobody outside can compute them.

    Args:
        key: at least 16 secret bytes, the same on every gateway replica for as long as the
            streams keep messages: another key would accept an old delivery once more.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("the id key needs at least 16 bytes")
        self._key = key
        # Who writes once often writes again, and from the same place.
        self._known = lru_cache(maxsize=REMEMBERED)(self._derive)

    def message(self, channel: Channel, event_id: str) -> MessageId:
        """Return the id under which the broker stores this event once."""
        return MessageId(self._derive("message", channel, event_id))

    def conversation(self, tenant: Tenant, channel: Channel, external_id: str) -> ConversationId:
        """Return the id of a conversation; it depends on where the event happened, nothing else."""
        return ConversationId(self._known("conversation", tenant, channel, external_id))

    def user(self, channel: Channel, sender_id: str) -> str:
        """Return the user id of a sender on a channel."""
        return self._known("user", channel, sender_id)

    def request(self, holder: str, key: str) -> str:
        """Return what stands for the key that `holder` gave a request."""
        return self._derive("request", holder, key)

    def address(self, client: str) -> str:
        """Return what stands for a client's network address where others can read it."""
        return self._derive("address", client)

    def _derive(self, *parts: str) -> str:
        # Lengths keep ("ab", "c") apart from ("a", "bc").
        encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
        digest = hmac.digest(self._key, framed, hashlib.sha256)[:16]
        return b32encode(digest).decode("ascii").rstrip("=").lower()


def derived(*parts: str) -> str:
    """Return an id that depends on `parts` alone, for effects that must happen once.

    The parts are ids of ours already, so no key is needed.
    """
    framed = "\x1f".join(parts).encode()
    return b32encode(hashlib.sha256(framed).digest()[:16]).decode("ascii").rstrip("=").lower()
