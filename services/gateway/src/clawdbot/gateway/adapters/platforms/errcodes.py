"""APIs that answer 200 and `{"errcode": n}`: WeCom, WeChat, and DingTalk's older ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from clawdbot.gateway.adapters.platforms.access_tokens import StaleToken
from clawdbot.gateway.adapters.platforms.api import APIAnswer
from clawdbot.gateway.domain.deliveries import AnswerLost
from clawdbot.schema.errors import ClawdbotError, Overloaded, Rejected, Unavailable

BUSY = -1


@dataclass(frozen=True)
class ErrCodes:
    """What the codes of one platform mean; those that are not named are final."""

    who: str
    waits_s: Mapping[int, float] = field(default_factory=dict)
    """Codes of rate limits, and how long to wait."""
    stale_token: frozenset[int] = frozenset()
    mended: frozenset[int] = frozenset()
    """Codes of what the operator will mend at the platform: no reply is given up for them."""

    def judge(self, answer: APIAnswer) -> ClawdbotError | None:
        """Return the error that the answer's `errcode` stands for; a `Judge`."""
        code = answer.data.get("errcode")
        if type(code) is not int:
            return self._without_code(answer)
        if code in self.waits_s:
            wait_s = self.waits_s[code]
            return Overloaded(f"{self.who} asks to wait with code {code}", retry_after_s=wait_s)
        if code in self.stale_token:
            return StaleToken(f"{self.who} refused its token with code {code}")
        if code == BUSY or code in self.mended:
            return Unavailable(f"{self.who} cannot send now: code {code}")
        return Rejected(f"{self.who} refused the call with code {code}") if code else None

    def _without_code(self, answer: APIAnswer) -> ClawdbotError | None:
        is_token = "access_token" in answer.data
        if is_token or not httpx.codes.is_success(answer.status):
            return None
        # Something between us and the platform answered: nobody knows what was done.
        return AnswerLost(f"{self.who} gave an answer without a code")
