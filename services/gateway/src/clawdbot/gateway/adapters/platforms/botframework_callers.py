"""Who may speak for the Bot Framework: tokens of the Connector service, and the keys behind them.

Nothing that a token says of itself chooses how it is verified: it is RS256, `kid` names a key of
the published set alone, and `jku`, `x5u` and `jwk` are not looked at. The body is not signed; the
token names the `serviceUrl` that stands in it, and its key the channels that it speaks for.

Source: learn.microsoft.com, "Authentication with the Bot Connector API", connector to bot, step 4.
The set is the `jwks_uri` of the OpenID metadata that is named there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import jwt

from clawdbot.gateway.adapters.jwks import PublishedKeys
from clawdbot.gateway.adapters.jwt_claims import time_of
from clawdbot.gateway.adapters.jwt_keys import KeySet, VerifyingKey
from clawdbot.gateway.adapters.platforms.requests import RawRequest, refused

ALGORITHM = "RS256"
ISSUER = "https://api.botframework.com"
LEEWAY_S = 300.0
"""Clock skew that Microsoft asks for."""
REFRESH_S = 86_400.0
"""Microsoft asks to fetch the keys once a day."""
_MISREAD = (LookupError, TypeError, ValueError, ArithmeticError, RecursionError)


class EndorsedKeys(PublishedKeys):
    """Keys that name the channels which may sign with them."""

    endorsed: Mapping[str, frozenset[str]] = {}
    """By the key's name; one that is not here may sign for any, as in Microsoft's libraries."""

    def parse(self, raw: bytes) -> KeySet:
        """Return the keys, and remember their channels."""
        found = super().parse(raw)
        self.endorsed = {
            str(each["kid"]): frozenset(name for name in each["endorsements"] if _is_text(name))
            for each in json.loads(raw)["keys"]
            if isinstance(each, dict) and {"kid", "endorsements"} <= each.keys()
            if isinstance(each["endorsements"], list)
        }
        return found


class Callers:
    """Believes what the Connector service signed for one bot.

    Args:
        client: without redirects.
        keys_url: of the JSON Web Key Set.
        app_id: the bot's, whom tokens are for.
    """

    def __init__(self, client: httpx.AsyncClient, keys_url: str, app_id: str) -> None:
        self._keys = EndorsedKeys(client, keys_url, ALGORITHM)
        self._app_id = app_id

    async def look_up(self, request: RawRequest) -> None:
        """Have the key of the request's token at hand, if there is one.

        Raises:
            Unauthenticated: there is no token of the right kind.
            Unavailable: no keys could be fetched yet.
        """
        key_id = _key_id(_token(request))
        await self._keys.keep_fresh(REFRESH_S)
        await self._keys.find(key_id)

    def verify(self, request: RawRequest, activity: Mapping[str, Any], now: float) -> None:
        """Pass when the request's token is for us, for this activity, and for now.

        Raises:
            Unauthenticated: it is not.
        """
        token = _token(request)
        key_id = _key_id(token)
        key = self._keys.known(key_id)
        if key is None:
            raise refused()
        try:
            claims = self._claims(token, key)
            starts, ends = time_of(claims.get("nbf", claims["exp"])), time_of(claims["exp"])
        except (jwt.PyJWTError, *_MISREAD) as exc:
            raise refused() from exc
        if now >= ends + LEEWAY_S or ("nbf" in claims and now < starts - LEEWAY_S):
            raise refused()
        channel, endorsed = activity.get("channelId"), self._keys.endorsed.get(key_id)
        is_for_channel = endorsed is None or channel in endorsed
        if claims["serviceurl"] != activity.get("serviceUrl") or not is_for_channel:
            raise refused()

    def _claims(self, token: str, key: VerifyingKey) -> dict[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            audience=self._app_id,
            # By the clock that we are given.
            options={
                "require": ["exp", "iss", "aud", "serviceurl"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _token(request: RawRequest) -> str:
    scheme, _, token = request.header("authorization").decode("ascii").partition(" ")
    if scheme.lower() != "bearer":
        raise refused()
    return token.strip()


def _key_id(token: str) -> str:
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, *_MISREAD) as exc:
        raise refused() from exc
    key_id = header.get("kid")
    # Before the look-up, so that only what could be Microsoft's has keys fetched.
    if header.get("alg") != ALGORITHM or "crit" in header or not isinstance(key_id, str):
        raise refused()
    return key_id
