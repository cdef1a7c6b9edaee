"""GitHub: comments on issues and pull requests, answered by comments of a machine user.

In: `X-Hub-Signature-256` over the exact body; nothing is dated, and neither `X-GitHub-Event` nor
`X-GitHub-Delivery` is signed, so that the body alone says what happened and a comment's own id
tells a repetition. GitHub waits 10 s and sends nothing again by itself ("Handling failed webhook
deliveries"): what could not be kept stands in the webhook's list of deliveries, to be sent again by
hand. Comments of bots, our own, edits, and those that do not speak to us are acknowledged alone.

Out: a comment on the same issue or pull request, or in the same thread of a review. There is no key
against repetition; an edit is a PATCH. GitHub mails a comment's first words to whoever watches, so
drafts that grow are off unless they are asked for. Mentions in our answers are made harmless.

Senders are GitHub's numeric ids: a login can be given up and taken by somebody else.

Sources (docs.github.com): "Validating webhook deliveries", "REST API endpoints for issue comments",
"REST API endpoints for pull request review comments", "Rate limits for the REST API".
"""

from __future__ import annotations

import json
import re
import time
from http import HTTPStatus
from typing import Annotated

import httpx
from pydantic import Field

from clawdbot.gateway.adapters.http_errors import LONGEST_WAIT_S, retry_after_s
from clawdbot.gateway.adapters.platforms.api import APIAnswer, APIRequest, PlatformAPI
from clawdbot.gateway.adapters.platforms.github_comments import (
    Commented,
    Listener,
    commented,
    without_mentions,
)
from clawdbot.gateway.adapters.platforms.hub_signature import SIGNATURE, verified
from clawdbot.gateway.adapters.platforms.interface import (
    Account,
    AccountSettings,
    Address,
    Capabilities,
    Limits,
    Platform,
    PlatformMessage,
    Received,
)
from clawdbot.gateway.adapters.platforms.keys import SecretRule
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest, Verified
from clawdbot.gateway.adapters.strict_json import parse_object
from clawdbot.gateway.domain.deliveries import SendTraits
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.splitting import TextLimit, Unit
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, Overloaded, Rejected

WEBHOOK_SECRET, TOKEN = "webhook_secret", "token"
MIN_TOKEN_BYTES = 30
MAX_TEXT_UNITS = 40_000
"""GitHub takes 65,536 characters; making mentions harmless adds half at most."""
EDIT_EVERY_S = 10.0
"""GitHub allows 80 requests a minute, and 500 an hour, that create content."""
BLIND_WAIT_S = 60.0
"""What GitHub advises where a limit is not explained by a header."""
_SENT_ID = re.compile(r"[0-9]{1,19}", re.ASCII)


class GitHubSettings(AccountSettings):
    """Keys of an account of `platforms.github`."""

    bot_login: Annotated[str, Field(pattern=r"^@?[A-Za-z0-9-]{1,39}(\[bot\])?$")]
    """The account whose token we have: it is answered when mentioned, and never answers itself."""
    api_base: str = "https://api.github.com"
    """GitHub Enterprise Server has `https://<host>/api/v3`."""
    live_replies: bool = False
    """Whether a comment grows while it is written; GitHub mails its first words alone."""


class GitHub:
    """The adapter of one webhook and machine user; a `PlatformAdapter` that is `Editing`."""

    methods = frozenset({"POST"})
    limits = Limits(TextLimit(MAX_TEXT_UNITS, Unit.UTF16))
    capabilities = Capabilities(edits=True, edit_every_s=EDIT_EVERY_S)
    unreadable: HTTPAnswer | None = None
    """The list of deliveries shows what we say, and nothing is sent again by itself."""

    def __init__(self, account: Account[GitHubSettings], client: httpx.AsyncClient) -> None:
        self._secrets = account.keys[WEBHOOK_SECRET]
        self._listener = Listener(account.settings.bot_login)
        self._api = PlatformAPI(client, account.platform, account.settings.api_base, judge)
        self._headers = {
            "Authorization": f"Bearer {account.keys[TOKEN].text}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
            "User-Agent": "clawdbot",
            "Content-Type": "application/json; charset=utf-8",
        }

    def admit(self, request: RawRequest) -> None:
        """See `PlatformAdapter.admit`."""
        request.header(SIGNATURE)

    def verify(self, request: RawRequest, now: float) -> Verified:  # noqa: ARG002 -- not dated
        """See `PlatformAdapter.verify`."""
        return verified(request, self._secrets)

    def read(self, verified: Verified) -> Received:
        """See `PlatformAdapter.read`; the ping of a new webhook is any other event."""
        told = commented(parse_object(verified.payload))
        message = None if told is None else self._message(told)
        return Received(() if message is None else (message,))

    def _message(self, told: Commented) -> PlatformMessage | None:
        comment, author = told.comment, told.comment.user
        content = self._listener.heard(comment.body or "")
        if author is None or not self._listener.is_person(author) or content is None:
            return None
        kind = "review" if told.thread else "issue"
        return PlatformMessage(
            event_id=f"{kind}:{comment.id}",
            sender_id=str(author.id),
            content=content,
            # The id stays when a repository is renamed.
            place=(str(told.repository.id), str(told.number), str(told.thread or "")),
            timestamp=int(comment.created_at.timestamp()),
            thread_id=str(told.thread) if told.thread else None,
            address={
                "repository": told.repository.full_name,
                "number": told.number,
                "thread": told.thread,
            },
            in_group=True,
        )

    async def send(self, part: ReplyPart, address: Address, *, deadline: Deadline) -> str | None:
        """See `PlatformAdapter.send`."""
        number, thread = address["number"], address["thread"]
        path = f"issues/{number}/comments"
        if thread:
            path = f"pulls/{number}/comments/{thread}/replies"
        request = self._request("POST", path, part, address)
        sent_id = (await self._api.call(request, deadline=deadline)).data.get("id")
        return str(sent_id) if type(sent_id) is int else None

    def traits(self, part: ReplyPart, address: Address) -> SendTraits:  # noqa: ARG002 -- as `Keyed`
        """See `Keyed.traits`."""
        return SendTraits(edits=True)

    async def edit(
        self, sent_id: str, part: ReplyPart, address: Address, *, deadline: Deadline
    ) -> None:
        """See `Editing.edit`."""
        if not _SENT_ID.fullmatch(sent_id):
            raise Rejected("github has no comment with this id")
        kind = "pulls" if address["thread"] else "issues"
        request = self._request("PATCH", f"{kind}/comments/{sent_id}", part, address)
        await self._api.call(request, deadline=deadline)

    def _request(self, method: str, path: str, part: ReplyPart, address: Address) -> APIRequest:
        body = json.dumps({"body": without_mentions(part.text)}, ensure_ascii=False)
        whole = f"/repos/{address['repository']}/{path}"
        return APIRequest(method, whole, body.encode(), self._headers)


PLATFORM = Platform(
    GitHubSettings,
    GitHub,
    (SecretRule(WEBHOOK_SECRET), SecretRule(TOKEN, min_bytes=MIN_TOKEN_BYTES)),
)


def judge(answer: APIAnswer) -> ClawdbotError | None:
    """Tell limits from refusals, which share the status 403; a `Judge`."""
    told = answer.data.get("message")
    is_limit = "rate limit" in told.lower() if isinstance(told, str) else False
    is_used_up = answer.headers.get("x-ratelimit-remaining") == "0"
    wait_s = retry_after_s(answer.headers.get("retry-after", ""))
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or (
        answer.status == HTTPStatus.FORBIDDEN and (wait_s is not None or is_used_up or is_limit)
    ):
        blind_s = _until_reset(answer.headers) if is_used_up else BLIND_WAIT_S
        return Overloaded("github asks to wait", retry_after_s=wait_s or blind_s)
    if answer.status == HTTPStatus.UNAUTHORIZED:
        return Rejected("github refused the token", fix=f"make a new {TOKEN}")
    if answer.status in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
        fix = "give the token write access to issues and pull requests of the repository"
        return Rejected(f"github refused the reply with status {answer.status}", fix=fix)
    return None


def _until_reset(headers: httpx.Headers) -> float:
    reset = headers.get("x-ratelimit-reset", "")
    if not (reset.isascii() and reset.isdigit()):
        return BLIND_WAIT_S
    return min(max(float(reset[:12]) - time.time(), 1.0), LONGEST_WAIT_S)
