from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.platforms.callback_envelope import (
    Envelope,
    Signature,
    aes_key,
    digest,
)
from clawdbot.gateway.adapters.platforms.callback_xml import parse_fields
from clawdbot.gateway.adapters.platforms.keys import Keys
from clawdbot.gateway.adapters.platforms.requests import RawRequest
from clawdbot.schema.errors import Unauthenticated
from services.gateway.tests.platforms.callbacks import AES_KEY, NONCE, TOKEN, sealed

STAMP, RECEIVER = "1700000000", "ww1234567890abcdef"
OTHER_TOKEN, OTHER_KEY = b"another token of the same length", b"x" * 43
ENVELOPE = Envelope(Keys(TOKEN), Keys(AES_KEY), RECEIVER)


def signature(text: str, *, token: bytes = TOKEN, nonce: str = NONCE) -> Signature:
    return Signature(digest(token, STAMP, nonce, text), STAMP, nonce)


def raw(plain: bytes) -> str:
    """Return `plain`, whole blocks, encrypted with no padding of its own."""
    key = aes_key(AES_KEY)
    cipher = Cipher(AES(key), CBC(key[:16])).encryptor()
    return base64.b64encode(cipher.update(plain) + cipher.finalize()).decode()


def plain_of(message: bytes, *, length: int | None = None, receiver: bytes = b"") -> bytes:
    size = len(message) if length is None else length
    return bytes(16) + size.to_bytes(4, "big") + message + (receiver or RECEIVER.encode())


def padded(plain: bytes) -> bytes:
    count = 32 - len(plain) % 32
    return plain + bytes([count]) * count


class TestPublishedVectors:
    def test_wecoms_echo_is_read(self) -> None:
        envelope = Envelope(
            Keys(b"QDG6eK"),
            Keys(b"jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"),
            "wx5823bf96d3bd56c7",
        )
        signed = b"5c45ff5e21c57e6ad56bac8758b79b1d9ac89fd3"
        echo = (
            "P9nAzCzyDtyTWESHep1vC5X9xho/qYX3Zpb4yKa9SKld1DsH3Iyt3tP3"
            "zNdtp+4RPcs8TgAE7OaBO+FZXvnaqQ=="
        )
        opened = envelope.opened(Signature(signed, "1409659589", "263014780"), echo)

        assert opened == b"1616140317555161061"

    def test_dingtalks_check_is_read(self) -> None:
        envelope = Envelope(
            Keys(b"123456"),
            Keys(b"4g5j64qlyl3zvetqxz5jiocdr586fn2zvjpa8zls3ij"),
            "suite4xxxxxxxxxxxxxxx",
        )
        signed = b"5a65ceeef9aab2d149439f82dc191dd6c5cbe2c0"
        text = (
            "1a3NBxmCFwkCJvfoQ7WhJHB+iX3qHPsc9JbaDznE1i03peOk1LaOQoRz3+nlyGNhwmwJ3vDMG+OzrHMeiZI7gTRW"
            "VdUBmfxjZ8Ej23JVYa9VrYeJ5as7XM/ZpulX8NEQis44w53h1qAgnC3PRzM7Zc/D6Ibr0rgUathB6zRHP8PYrfgn"
            "NOS9PhSBdHlegK+AGGanfwjXuQ9+0pZcy0w9lQ=="
        )

        opened = envelope.opened(Signature(signed, "1445827045067", "nEXhMP4r"), text)

        assert b"check_create_suite_url" in opened
        assert b"LPIdSnlF" in opened


class TestOpening:
    @given(st.binary(max_size=200))
    def test_what_is_sealed_is_opened(self, message: bytes) -> None:
        text = sealed(message, RECEIVER)

        assert ENVELOPE.opened(signature(text), text) == message

    def test_any_of_our_tokens_and_keys_will_do(self) -> None:
        envelope = Envelope(Keys(OTHER_TOKEN, TOKEN), Keys(OTHER_KEY, AES_KEY), RECEIVER)

        for token in (OTHER_TOKEN, TOKEN):
            for key in (OTHER_KEY, AES_KEY):
                text = sealed(b"said", RECEIVER, key)

                assert envelope.opened(signature(text, token=token), text) == b"said"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "====",
            "你",
            "AAAA",
            sealed(b"said", RECEIVER)[:-4],
            sealed(b"said", RECEIVER, OTHER_KEY),
            sealed(b"said", "ww of another"),
            sealed(b"said", RECEIVER + "x"),
            sealed(b"said", ""),
            raw(bytes(32)),
            raw(bytes([32]) * 32),
            raw(padded(bytes(16) + b"\0\0\0")),
            raw(padded(plain_of(b"said", length=3))),
            raw(padded(plain_of(b"said", length=5))),
            raw(padded(plain_of(b"said", length=2**32 - 1))),
            raw(plain_of(b"said").ljust(64, b"\0")),
            raw(plain_of(b"said").ljust(64, b"\x16")[:-1] + b"\x15"),
            raw(padded(plain_of(b"said")) + b"\x10" * 16),
        ],
    )
    def test_all_that_is_wrong_is_refused_in_the_same_words(self, text: str) -> None:
        with pytest.raises(Unauthenticated) as error:
            ENVELOPE.opened(signature(text), text)

        assert error.value.message == "the request is not signed by anybody we know"
        assert error.value.__cause__ is None

    @given(st.data())
    def test_whatever_is_changed_is_refused(self, data: st.DataObject) -> None:
        text = sealed(b"one person says one thing", RECEIVER)
        right = signature(text)
        at = data.draw(st.integers(0, len(text) - 1))
        other = data.draw(st.characters(codec="utf-8").filter(lambda value: value != text[at]))
        forged = data.draw(st.binary(max_size=50).filter(lambda value: value != right.digest))

        with pytest.raises(Unauthenticated):
            ENVELOPE.opened(right, text[:at] + other + text[at + 1 :])
        with pytest.raises(Unauthenticated):
            ENVELOPE.opened(Signature(forged, STAMP, NONCE), text)

    def test_blocks_cannot_be_moved_into_the_nonce(self) -> None:
        text = sealed(b"x" * 100, RECEIVER)
        moved = RawRequest(
            "POST",
            "/",
            query=(
                ("msg_signature", signature(text).digest.decode()),
                ("timestamp", STAMP),
                ("nonce", text[:64]),
            ),
        )

        with pytest.raises(Unauthenticated):
            Signature.of(moved)

    @pytest.mark.parametrize("value", [b"", b"x" * 42, b"x" * 44, b"+" * 43, b"=" * 43])
    def test_a_key_that_is_none_is_refused_without_showing_it(self, value: bytes) -> None:
        with pytest.raises(ValueError, match="43 of A-Z") as error:
            Envelope(Keys(TOKEN), Keys(value), RECEIVER)

        assert not value or value.decode() not in str(error.value)


class TestSealing:
    def test_an_answer_is_opened_by_whoever_asked(self) -> None:
        text, signed = ENVELOPE.sealed(b"success", STAMP, NONCE)

        assert ENVELOPE.opened(Signature(signed.encode(), STAMP, NONCE), text) == b"success"

    def test_a_repeated_request_is_answered_the_same_and_another_one_otherwise(self) -> None:
        first = ENVELOPE.sealed(b"success", STAMP, NONCE)

        assert ENVELOPE.sealed(b"success", STAMP, NONCE) == first
        assert ENVELOPE.sealed(b"success", STAMP, "other")[0] != first[0]


class TestAgainstTheSDK:
    """wechatpy, both ways."""

    @pytest.fixture
    def sdk(self):
        crypto = pytest.importorskip("wechatpy.enterprise.crypto")
        return crypto.WeChatCrypto(TOKEN.decode(), AES_KEY.decode(), RECEIVER)

    def test_it_reads_what_we_seal(self, sdk) -> None:
        for length in (*range(66), 1000):
            message = "x" * length
            text = sealed(message.encode(), RECEIVER)
            signed = digest(TOKEN, STAMP, NONCE, text).decode()

            assert sdk.check_signature(signed, STAMP, NONCE, text) == message

    def test_we_read_what_it_seals(self, sdk) -> None:
        for length in (*range(66), 1000):
            message = "x" * length
            sent = parse_fields(sdk.encrypt_message(message, NONCE, STAMP).encode())
            signed = Signature(sent["MsgSignature"].encode(), sent["TimeStamp"], sent["Nonce"])

            assert ENVELOPE.opened(signed, sent["Encrypt"]) == message.encode()
