from __future__ import annotations

from datetime import timedelta

import jwt
import pytest

from clawdbot.cli.failures import Failure
from clawdbot.cli.tokens import make_token, parse_ttl

SECRET = b"s" * 32


def test_a_token_holds_what_the_gateway_asks_for() -> None:
    token = make_token(
        SECRET, user="ann", tenant="acme", scopes=("chat", "admin"), ttl=timedelta(minutes=5)
    )

    claims = jwt.decode(
        token,
        SECRET,
        algorithms=["HS256"],
        issuer="clawdbot",
        audience="clawdbot",
        options={"require": ["exp", "iss", "aud", "sub"], "strict_aud": True},
    )

    assert (claims["sub"], claims["tenant"]) == ("ann", "acme")
    assert claims["scopes"] == ["admin", "chat"]
    assert claims["exp"] - claims["iat"] == 300


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tenant": "a.b"}, "tenant 'a.b'"),
        ({"user": ""}, "user"),
        ({"scopes": ("chat", "root")}, "unknown scope 'root'"),
    ],
)
def test_what_the_gateway_would_refuse_is_refused_here(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(Failure, match=said) as refused:
        make_token(SECRET, **wrong)  # type: ignore[arg-type]  # wrong on purpose

    assert refused.value.status == 2


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800)]
)
def test_a_time_is_a_number_with_a_unit(text: str, seconds: int) -> None:
    assert parse_ttl(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "12", "h", "0s", "-1h", "1.5h", "1w", "1h "])
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(Failure, match="such as 12h"):
        parse_ttl(text)
