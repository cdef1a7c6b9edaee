"""Reply addresses on their way through the stack: readable, or sealed when they hold a token.

Source: NIST SP 800-38D (AES-256-GCM, random 96-bit nonce).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import msgpack
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clawdbot.schema.errors import InvalidMessage, Rejected
from clawdbot.schema.ids import Channel, ConversationId
from clawdbot.schema.messages import InboundMessage, OutboundMessage

MIN_KEY_BYTES = 32
MAX_ADDRESS_BYTES = 8192
_PLAIN, _SEALED = b"\x00", b"\x01"
_NONCE_BYTES = 12


def packed(address: Mapping[str, Any]) -> bytes:
    """Return `address` as a message carries it when it holds no token.

    Raises:
        InvalidMessage: it is too long, or holds what cannot travel.
    """
    try:
        data = _PLAIN + bytes(msgpack.packb(dict(address)))
    except (ValueError, TypeError, OverflowError) as exc:
        raise InvalidMessage("the reply address cannot be used", field="reply_to") from exc
    if len(data) > MAX_ADDRESS_BYTES:
        raise InvalidMessage("the reply address is too long", field="reply_to")
    return data


class SealedAddresses:
    """A `ReplySeal`, and its inverse.

    Args:
        key: 32 bytes or more of secret; it is hashed to the cipher's key.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < MIN_KEY_BYTES:
            raise ValueError(f"the key is shorter than {MIN_KEY_BYTES} bytes")
        self._cipher = AESGCM(hashlib.sha256(key).digest())

    def close(self, address: bytes, channel: Channel, conversation_id: ConversationId) -> bytes:
        """Return `address` encrypted, bound to one conversation of one channel.

        Not to the message: one that is sent anew out of the dead letters has another id.
        """
        nonce = os.urandom(_NONCE_BYTES)
        bound = _bound_to(channel, conversation_id)
        return _SEALED + nonce + self._cipher.encrypt(nonce, address, bound)

    def open(self, reply: OutboundMessage | InboundMessage) -> Mapping[str, Any]:
        """Return where `reply`, or a reply to that message, goes.

        Raises:
            Rejected: it has no address, or not one that was made for its conversation here.
        """
        data = reply.reply_to or b""
        try:
            if data.startswith(_SEALED):
                nonce, sealed = data[1 : 1 + _NONCE_BYTES], data[1 + _NONCE_BYTES :]
                bound = _bound_to(reply.channel, reply.conversation_id)
                data = self._cipher.decrypt(nonce, sealed, bound)
            address = msgpack.unpackb(data[1:]) if data.startswith(_PLAIN) else None
        except (InvalidTag, ValueError, msgpack.exceptions.UnpackException) as exc:
            raise Rejected("the reply address cannot be read") from exc
        if not isinstance(address, dict):
            raise Rejected("the reply has no address")
        return address


def _bound_to(channel: Channel, conversation_id: ConversationId) -> bytes:
    return f"{channel}.{conversation_id}".encode()
