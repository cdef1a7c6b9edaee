from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.platforms.callback_xml import (
    MAX_DEPTH,
    MAX_ELEMENTS,
    encrypted_in,
    parse_fields,
)
from clawdbot.gateway.adapters.refusals import BadPayload
from clawdbot.schema.errors import Unauthenticated


def test_texts_are_read_by_name_and_what_is_nested_is_passed_over() -> None:
    body = b"<xml><A><![CDATA[x<y]]></A>\n<B>1<c>2<d>3</d></c>4</B><E/><F>&lt;&#20320;</F></xml>"

    assert parse_fields(body) == {"A": "x<y", "B": "14", "E": "", "F": "<你"}


def test_whatever_encoding_is_claimed_it_is_utf_8() -> None:
    for name in ("utf-7", "base64", "iso-8859-1", "x-unknown"):
        body = f'<?xml version="1.0" encoding="{name}"?><xml><A>你+AGE-</A></xml>'.encode()

        assert parse_fields(body) == {"A": "你+AGE-"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<xml>",
        b"<xml/><xml/>",
        b"<other/>",
        b"\xff",
        b"<xml><A>\x00</A></xml>",
        b"<xml><A>&#0;</A></xml>",
        b"<xml><A>1</A><A>2</A></xml>",
        b"<!DOCTYPE xml><xml/>",
        b'<!DOCTYPE xml SYSTEM "http://evil.example/x.dtd"><xml/>',
        b'<!DOCTYPE xml [<!ENTITY a "b">]><xml><A>&a;</A></xml>',
        b'<!DOCTYPE xml [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml><A>&a;</A></xml>',
        b"<xml><A>&unknown;</A></xml>",
        b"<xml>" * (MAX_DEPTH + 1) + b"</xml>" * (MAX_DEPTH + 1),
        b"<xml><A>" + b"<b/>" * MAX_ELEMENTS + b"</A></xml>",
    ],
)
def test_what_is_not_such_xml_is_refused(body: bytes) -> None:
    with pytest.raises(BadPayload):
        parse_fields(body)
    with pytest.raises(Unauthenticated):
        encrypted_in(body)


@given(st.binary() | st.text(alphabet="<>/!&;[]AxmlDOCTYPE \"'").map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for given_body in (body, b"<xml>" + body + b"</xml>"):
        try:
            parse_fields(given_body)
        except BadPayload:
            continue


def test_a_callback_without_an_encrypted_text_is_not_authentic() -> None:
    for body in (b"<xml/>", b"<xml><Encrypt/></xml>", b"<xml><A><Encrypt>x</Encrypt></A></xml>"):
        with pytest.raises(Unauthenticated):
            encrypted_in(body)
