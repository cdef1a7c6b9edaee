"""What the error codes of the WhatsApp Cloud API mean; Meta advises to go by them alone.

Source: developers.facebook.com, WhatsApp Business Platform, "Error codes".
"""

from __future__ import annotations

from http import HTTPStatus

from clawdbot.gateway.adapters.http_errors import retry_after_s
from clawdbot.gateway.adapters.platforms.api import APIAnswer
from clawdbot.schema.errors import ClawdbotError, Overloaded, Rejected, Unavailable

PAIR_WAIT_S = 6.0
"""One message to the same person in six seconds, once a burst of 45 is used up."""
BUSY = {4: 60.0, 80007: 60.0, 130429: 1.0, 131056: PAIR_WAIT_S}
"""Codes that ask to wait, and seconds to wait where no header says how long."""
TRANSIENT = frozenset({1, 2, 131000, 131016, 131057, 133004})
WINDOW_CLOSED = 131047
_TOKEN = "issue a new access_token for a system user, with whatsapp_business_messaging"  # noqa: S105 -- advice
FIXES = {
    0: _TOKEN,
    10: _TOKEN,
    190: _TOKEN,
    131005: _TOKEN,
    WINDOW_CLOSED: "wait until they write again: 24 hours after their last message only templates",
    131030: "add the number to the allowed recipients of the test number",
    131042: "add a way to pay to the WhatsApp Business account",
    131048: "look up the number's quality in WhatsApp Manager",
}


def judge(answer: APIAnswer) -> ClawdbotError | None:
    """Return the error in the body; None leaves it to the status. A `Judge`."""
    error = answer.data.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    if type(code) is not int:
        return None
    if code in BUSY or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        told_s = retry_after_s(answer.headers.get("retry-after", ""))
        return Overloaded("whatsapp asks to wait", retry_after_s=told_s or BUSY.get(code, 1.0))
    if code in TRANSIENT:
        return Unavailable(f"whatsapp failed with code {code}")
    # 3 and others come under 500, though trying again changes nothing.
    return Rejected(f"whatsapp refused the reply with code {code}", fix=FIXES.get(code))
