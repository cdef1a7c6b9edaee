from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.signature import WebhookKey, read_signature
from clawdbot.schema.errors import Unauthenticated

SECRET = b"a shared secret of the webhook"
KEY = WebhookKey(SECRET)


def header(*values: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", b"application/json"), *((b"x-signature", v) for v in values)]


def test_the_published_vector_of_github_verifies() -> None:
    key = WebhookKey(b"It's a Secret to Everybody")
    value = b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

    key.verify(read_signature(header(value)), b"Hello, World!")


@given(body=st.binary(), prefix=st.sampled_from([b"", b"sha256="]), upper=st.booleans())
def test_a_right_signature_is_believed_in_every_spelling(
    body: bytes, prefix: bytes, upper: bool
) -> None:
    digest = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    value = prefix + (digest.upper() if upper else digest).encode()

    KEY.verify(read_signature(header(value)), body)


@given(body=st.binary(), digest=st.binary(min_size=32, max_size=32))
def test_any_other_digest_is_refused(body: bytes, digest: bytes) -> None:
    if digest == hmac.new(SECRET, body, hashlib.sha256).digest():
        return

    with pytest.raises(Unauthenticated):
        KEY.verify(read_signature(header(digest.hex().encode())), body)


@given(st.binary(max_size=80))
def test_whatever_the_header_holds_it_is_read_or_refused_never_a_crash(value: bytes) -> None:
    try:
        signature = read_signature(header(value))
    except Unauthenticated:
        return
    assert len(signature.digest) == 32


@pytest.mark.parametrize(
    "values",
    [
        (),
        (b"",),
        (b"a" * 64, b"a" * 64),
        (b"a" * 63,),
        (b"a" * 65,),
        (b"a" * 64 + b"\n",),
        (b"\xff" * 64,),
        ("１".encode() * 64,),
        (b"g" * 64,),
        (b"sha1=" + b"a" * 64,),
        (b"v1=" + b"a" * 64,),
        (b"a" * 64 + b"," + b"a" * 64,),
    ],
)
def test_a_missing_doubled_or_malformed_header_is_refused_with_the_same_words(
    values: tuple[bytes, ...],
) -> None:
    with pytest.raises(Unauthenticated) as refused:
        read_signature(header(*values))
    with pytest.raises(Unauthenticated) as wrong:
        KEY.verify(read_signature(header(b"a" * 64)), b"body")

    assert refused.value.message == wrong.value.message


@pytest.mark.parametrize("secret", [b"", b"  \n" * 6, b"fifteen bytes.."])
def test_a_blank_or_short_secret_is_no_key(secret: bytes) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        WebhookKey(secret)
