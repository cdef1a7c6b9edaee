"""The envelope of callbacks from WeCom, WeChat and DingTalk: a SHA-1 around AES-256-CBC.

- The signature is the hex SHA-1 of token, timestamp, nonce and encrypted text, sorted as strings
  and joined without separators, so characters could move from one to the next. Whoever moved 64
  characters of base64, 48 bytes, would cut three whole blocks off the text: hence shorter nonces.
- The key is base64 of 43 characters and "=", the IV its first 16 bytes, the padding PKCS7 to 32.
- Inside are 16 random bytes, the length in 4 bytes, the message, and the id of whom it is for.

Source: WeCom developer centre, "Encryption and decryption of callbacks" and its WXBizMsgCrypt;
DingTalk's "Callback events" has the same with a timestamp in milliseconds.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from clawdbot.gateway.adapters.platforms.keys import Keys
from clawdbot.gateway.adapters.platforms.requests import RawRequest, refused
from clawdbot.schema.errors import Unauthenticated

AES_KEY_CHARS = 43
MAX_AGE_S = 3600.0
"""None of them documents one. An hour bears slow clocks, and what comes twice is kept once."""
MAX_NONCE_CHARS = 63
PREFIX_BYTES, LENGTH_BYTES = 16, 4
_PADDED_BITS = 32 * 8
_AES_KEY = re.compile(rb"[A-Za-z0-9]{43}")


@dataclass(frozen=True)
class Signature:
    """What a callback's query says about who sent it."""

    digest: bytes = field(repr=False)
    timestamp: str
    nonce: str

    @classmethod
    def of(cls, request: RawRequest, name: str = "msg_signature") -> Signature:
        """Return the signature in the query of `request`; `name` is its parameter.

        Raises:
            Unauthenticated: a parameter is missing, doubled or malformed.
        """
        nonce = request.parameter("nonce")
        if len(nonce) > MAX_NONCE_CHARS:
            raise refused()
        return cls(request.parameter(name).encode(), request.parameter("timestamp"), nonce)

    def covers(self, tokens: Keys, *texts: str) -> bool:
        """Return whether one of `tokens` signed `texts` with this timestamp and nonce."""
        signed = (self.timestamp, self.nonce, *texts)
        # A list: each token is tried, whichever was right.
        return any([hmac.compare_digest(digest(token, *signed), self.digest) for token in tokens])


class Envelope:
    """Opens what was sent to one account, and seals what it answers.

    Args:
        tokens: what is mixed into signatures.
        aes_keys: as they are configured, 43 characters each.
        receiver: id of the account at the platform: corp id, app id or app key.

    Raises:
        ValueError: a key is not 43 letters and digits.
    """

    def __init__(self, tokens: Keys, aes_keys: Keys, receiver: str) -> None:
        self._tokens = tokens
        self._aes_keys = Keys(*(aes_key(value) for value in aes_keys))
        self._receiver = receiver.encode()

    def opened(self, signature: Signature, text: str) -> bytes:
        """Return the message in `text`; the caller looks at the timestamp.

        Raises:
            Unauthenticated: for every way in which it is not authentic, in the same words.
        """
        if not signature.covers(self._tokens, text):
            raise refused()
        for key in self._aes_keys:
            try:
                return _message(_decrypted(key, text), self._receiver)
            except Unauthenticated:
                continue
        raise refused()

    def sealed(self, message: bytes, timestamp: str, nonce: str) -> tuple[str, str]:
        """Return `message` encrypted, and its signature in hex.

        The bytes that should be random follow from key, timestamp and nonce, so that a request
        that comes again is answered the same.
        """
        key = self._aes_keys.first
        prefix = hmac.new(key, f"{timestamp}.{nonce}".encode(), hashlib.sha256).digest()
        text = encrypted(key, message, self._receiver, prefix[:PREFIX_BYTES])
        return text, digest(self._tokens.first, timestamp, nonce, text).decode("ascii")


def aes_key(value: bytes) -> bytes:
    """Return the 32 bytes that a configured EncodingAESKey stands for.

    Raises:
        ValueError: it is not 43 letters and digits.
    """
    if not _AES_KEY.fullmatch(value):
        raise ValueError(f"the AES key is not {AES_KEY_CHARS} of A-Z, a-z, 0-9")
    return base64.b64decode(value + b"=")


def digest(token: bytes, *signed: str) -> bytes:
    """Return the signature of `signed`, in lower-case hex."""
    parts = sorted([token, *(part.encode() for part in signed)])
    return hashlib.sha1(b"".join(parts), usedforsecurity=True).hexdigest().encode()  # noqa: S324 -- theirs


def encrypted(key: bytes, message: bytes, receiver: bytes, prefix: bytes) -> str:
    """Return `message` as the platforms send it; `prefix` is 16 bytes, and should be random."""
    plain = prefix + len(message).to_bytes(LENGTH_BYTES, "big") + message + receiver
    padder = PKCS7(_PADDED_BITS).padder()
    padded = padder.update(plain) + padder.finalize()
    cipher = Cipher(AES(key), CBC(key[:16])).encryptor()
    return base64.b64encode(cipher.update(padded) + cipher.finalize()).decode("ascii")


def _decrypted(key: bytes, text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
        cipher = Cipher(AES(key), CBC(key[:16])).decryptor()
        padded = cipher.update(data) + cipher.finalize()
        unpadder = PKCS7(_PADDED_BITS).unpadder()
        return unpadder.update(padded) + unpadder.finalize()
    # Not base64, no whole blocks, wrongly padded: which of them is not told.
    except ValueError:
        raise refused() from None


def _message(plain: bytes, receiver: bytes) -> bytes:
    start = PREFIX_BYTES + LENGTH_BYTES
    end = start + int.from_bytes(plain[PREFIX_BYTES:start], "big")
    is_ours = hmac.compare_digest(plain[end:], receiver)
    if len(plain) < end or not is_ours:
        raise refused()
    return plain[start:end]
