"""Who sent a Feishu request, and what it says: signature, encryption, verification token.

- With an Encrypt Key the body is `{"encrypt": base64(IV + AES-256-CBC)}` under SHA-256 of the key,
  and `X-Lark-Signature` is the hex SHA-256 (no HMAC) of timestamp + nonce + key + body. Neither
  separates its parts, hence exactly ten digits of time and strict JSON.
- The challenge that Feishu sends when the address is saved carries no signature, encrypted or not
  (larksuite's own SDK skips the check, too): the Verification Token alone speaks for it.
- Without an Encrypt Key nothing is signed or dated: each event is believed for its token.

Source: Feishu Open Platform, "Receive events", "Configure request URL" and "Encrypt Key".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterator, Mapping

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from clawdbot.gateway.adapters.platforms.freshness import fresh_seconds
from clawdbot.gateway.adapters.platforms.keys import Keys
from clawdbot.gateway.adapters.platforms.requests import RawRequest, refused
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.schema.errors import Unauthenticated

SIGNATURE, TIMESTAMP = "x-lark-signature", "x-lark-request-timestamp"
NONCE = "x-lark-request-nonce"
MAX_AGE_S = 3600.0
"""Feishu documents no tolerance; an hour bears slow clocks, and what comes twice is kept once."""
URL_VERIFICATION = "url_verification"
BLOCK_BYTES = 16


class Envelope:
    """Opens what was sent to one account.

    Args:
        tokens: Verification Tokens.
        encrypt_keys: Encrypt Keys; None when the app has none.
    """

    def __init__(self, tokens: Keys, encrypt_keys: Keys | None) -> None:
        self._tokens = tokens
        self._encrypt_keys = encrypt_keys

    def admit(self, request: RawRequest) -> None:
        """Pass what has all signature headers, or may be a challenge, which has no signature.

        Raises:
            Unauthenticated: some are missing or malformed.
        """
        if self._encrypt_keys is not None and _is_signed(request):
            for name in (SIGNATURE, TIMESTAMP, NONCE):
                request.header(name)

    def opened(self, request: RawRequest, now: float) -> bytes:
        """Return the event in `request`, decrypted.

        Raises:
            Unauthenticated: for every way in which it is not authentic.
        """
        if self._encrypt_keys is None:
            return self._believed(request.body)
        if not _is_signed(request):
            return self._challenge(request.body, self._encrypt_keys)
        key = _signing_key(request, now, self._encrypt_keys)
        payload = _decrypted_body(key, request.body)
        if _is_challenge(_fields(payload)):
            return self._believed(payload)
        return payload

    def _challenge(self, body: bytes, keys: Keys) -> bytes:
        for payload in _decrypted_by_any(keys, body):
            if _is_challenge(_fields(payload)):
                return self._believed(payload)
        raise refused()

    def _believed(self, payload: bytes) -> bytes:
        offered = _token(_fields(payload)).encode("utf-8", "surrogatepass")
        if not any(hmac.compare_digest(offered, token) for token in self._tokens):
            raise refused()
        return payload


def signature_of(stamp: bytes, nonce: bytes, key: bytes, body: bytes) -> bytes:
    """Return what `X-Lark-Signature` has to be, in lower-case hex."""
    return hashlib.sha256(stamp + nonce + key + body).hexdigest().encode()


def decrypted(key: bytes, text: str) -> bytes:
    """Return what `text`, the value of `encrypt`, holds.

    Raises:
        Unauthenticated: not base64, not whole blocks, or wrongly padded; which is not told.
    """
    try:
        data = base64.b64decode(text, validate=True)
        cipher = Cipher(AES(hashlib.sha256(key).digest()), CBC(data[:BLOCK_BYTES])).decryptor()
        padded = cipher.update(data[BLOCK_BYTES:]) + cipher.finalize()
        unpadder = PKCS7(BLOCK_BYTES * 8).unpadder()
        return unpadder.update(padded) + unpadder.finalize()
    except (binascii.Error, ValueError):
        raise refused() from None


def _is_signed(request: RawRequest) -> bool:
    return any(name == SIGNATURE.encode() for name, _ in request.headers)


def _signing_key(request: RawRequest, now: float, keys: Keys) -> bytes:
    offered, nonce = request.header(SIGNATURE), request.header(NONCE)
    stamp = request.header(TIMESTAMP)
    fresh_seconds(stamp, now, MAX_AGE_S)
    for key in keys:
        if hmac.compare_digest(signature_of(stamp, nonce, key, request.body), offered):
            return key
    raise refused()


def _decrypted_body(key: bytes, body: bytes) -> bytes:
    try:
        outer = parse_object(body)
    except BadPayload:
        raise refused() from None
    text = outer.get("encrypt")
    if text is None:
        return body
    if not isinstance(text, str):
        raise refused()
    return decrypted(key, text)


def _decrypted_by_any(keys: Keys, body: bytes) -> Iterator[bytes]:
    for key in keys:
        try:
            yield _decrypted_body(key, body)
        except Unauthenticated:
            continue


def _fields(payload: bytes) -> Mapping[str, object]:
    """Return the payload's fields, none if it is no JSON: `read` tells what is wrong with it."""
    try:
        return parse_object(payload)
    except BadPayload:
        return {}


def _is_challenge(fields: Mapping[str, object]) -> bool:
    return fields.get("type") == URL_VERIFICATION


def _token(fields: Mapping[str, object]) -> str:
    header = fields.get("header")
    holder = header if isinstance(header, dict) and not _is_challenge(fields) else fields
    token = holder.get("token")
    return token if isinstance(token, str) else ""
