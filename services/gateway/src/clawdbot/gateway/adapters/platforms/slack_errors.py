"""What Slack's answers mean: its Web API reports failures in the body of a 200.

Sources (docs.slack.dev): error tables of `chat.postMessage`, `chat.postEphemeral` and
`chat.update`; "Rate limits" for `Retry-After`.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from clawdbot.gateway.adapters.http_errors import retry_after_s
from clawdbot.gateway.adapters.platforms.api import APIAnswer
from clawdbot.schema.errors import ClawdbotError, Overloaded, Rejected, Unavailable

DEFAULT_WAIT_S = 1.0
"""A channel takes about one message a second."""
BUSY = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
TRANSIENT = frozenset(
    {
        "external_channel_migrating",
        "fatal_error",
        "internal_error",
        "org_login_required",
        "request_timeout",
        "service_unavailable",
        "team_added_to_org",
        "update_failed",
        # Slack knows the key of the message and cannot find the message: the first attempt may
        # still be under way.
        "duplicate_message_not_found",
    }
)
_TOKEN = "check the app's bot token and whether the app is still installed"  # noqa: S105 -- advice
FIXES = {
    "account_inactive": _TOKEN,
    "channel_not_found": "invite the app to the conversation",
    "invalid_auth": _TOKEN,
    "missing_scope": "give the app the scope chat:write and install it again",
    "not_authed": _TOKEN,
    "not_in_channel": "invite the app to the channel",
    "token_expired": _TOKEN,
    "token_revoked": _TOKEN,
}
_CODE = re.compile(r"[a-z0-9_]{1,64}")


def judge_method(answer: APIAnswer) -> ClawdbotError | None:
    """Judge the answer of a Web API method, which says `ok` when it succeeded."""
    succeeded = HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES
    if succeeded and not isinstance(answer.data.get("ok"), bool):
        return Unavailable("slack answered with something else than its API does")
    return judge_response(answer)


def judge_response(answer: APIAnswer) -> ClawdbotError | None:
    """Judge the answer of a `response_url`, which is plain text when it succeeded."""
    if answer.data.get("ok") is not False:
        return None
    found = answer.data.get("error")
    code = found if isinstance(found, str) and _CODE.fullmatch(found) else "unknown"
    if code in BUSY or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        wait_s = retry_after_s(answer.headers.get("retry-after", ""))
        return Overloaded("slack asks to wait", retry_after_s=wait_s or DEFAULT_WAIT_S)
    if code in TRANSIENT or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable(f"slack failed: {code}")
    return Rejected(f"slack refused the reply: {code}", fix=FIXES.get(code))
