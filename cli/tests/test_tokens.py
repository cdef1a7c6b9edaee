from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from clawdbot.cli.failures import Failure
from clawdbot.cli.tokens import Signer, parse_ttl
from clawdbot.runtime.config import Config
from clawdbot.runtime.secrets import Secrets

SECRET = b"s" * 32


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    (tmp_path / "jwt_secret").write_bytes(SECRET)
    return Signer.of(Config(), Secrets(tmp_path))


def test_a_token_holds_what_the_gateway_asks_for(signer: Signer) -> None:
    issued = signer.issue(
        user="ann", tenant="acme", scopes=("chat", "admin"), ttl=timedelta(minutes=5)
    )

    claims = jwt.decode(
        issued.text,
        SECRET,
        algorithms=["HS256"],
        issuer="clawdbot",
        audience="clawdbot",
        options={"require": ["exp", "iat", "iss", "aud", "sub", "jti"], "strict_aud": True},
    )

    assert (claims["sub"], claims["tenant"]) == ("ann", "acme")
    assert claims["scopes"] == ["admin", "chat"]
    assert 299 <= claims["exp"] - claims["iat"] <= 300
    assert claims["jti"] == issued.record.token_id
    assert issued.text not in repr(issued)
    assert SECRET.decode() not in repr(signer)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tenant": "a.b"}, "tenant 'a.b'"),
        ({"user": ""}, "subject"),
        ({"user": "a\nb"}, "subject"),
        ({"ttl": timedelta(days=367)}, "366d"),
        ({"scopes": ("chat", "root")}, "unknown scope 'root'"),
    ],
)
def test_what_the_gateway_would_refuse_is_refused_here(
    signer: Signer, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(Failure, match=said) as refused:
        signer.issue(**wrong)

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
