"""Who signed a request of Discord's.

Source: Discord, "Overview of Interactions", validating security request headers: Ed25519
(RFC 8032) over `X-Signature-Timestamp` and the body, joined; the public key is the application's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clawdbot.gateway.adapters.platforms.requests import refused

KEY_DIGITS = 64
_KEY = re.compile(rb"[0-9a-fA-F]{64}")
_SIGNATURE = re.compile(rb"[0-9a-fA-F]{128}")
_TRIES = 128
"""Each hits a key of small order with at least one chance in eight."""


class PublicKeys:
    """Keys of one application, any of them believed.

    Args:
        keys: 64 hexadecimal digits each.

    Raises:
        ValueError: one is anything else, or a key for which everybody can sign.
    """

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._keys = [_public_key(key) for key in keys]

    def check(self, signature: bytes, signed: bytes) -> None:
        """Pass when one of the keys signed `signed`.

        Raises:
            Unauthenticated: none did, or `signature` is not 128 hexadecimal digits.
        """
        # bytes.fromhex alone would let blanks between the digits through.
        if not _SIGNATURE.fullmatch(signature):
            raise refused()
        raw = bytes.fromhex(signature.decode("ascii"))
        if not any(_signed_by(key, raw, signed) for key in self._keys):
            raise refused()


def _public_key(text: bytes) -> Ed25519PublicKey:
    if not _KEY.fullmatch(text):
        raise ValueError(f"a public key is {KEY_DIGITS} hexadecimal digits")
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(text.decode("ascii")))
    # For a point of small order, such as a placeholder of zeros, this "signature" is valid of many
    # messages; OpenSSL does not refuse such keys.
    identity = b"\x01" + bytes(63)
    if any(_signed_by(key, identity, bytes([number])) for number in range(_TRIES)):
        raise ValueError("the public key is one for which everybody can sign")
    return key


def _signed_by(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True
