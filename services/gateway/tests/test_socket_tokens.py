"""A token that is revoked while its WebSocket is open."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress

import jwt

from clawdbot.gateway.adapters.jwt_auth import Tokens
from clawdbot.gateway.adapters.jwt_claims import Rules
from clawdbot.gateway.adapters.jwt_keys import secret_keys
from clawdbot.gateway.adapters.revocations import NothingRevoked
from clawdbot.gateway.adapters.socket_frames import read_request
from clawdbot.gateway.adapters.socket_session import Gone, Session, SocketLimits, SocketServices
from clawdbot.gateway.domain.sockets import Ending
from clawdbot.gateway.handlers.messages import Accept, Patience
from clawdbot.gateway.handlers.replies import Follower
from clawdbot.gateway.ports import RecordingInbox
from clawdbot.gateway.ports.reply_log import RecordingReplyLog
from clawdbot.schema.ids import IdKey

SECRET = b"a secret of at least thirty-two bytes"


class Revocable(NothingRevoked):
    """A list on which every token stands once `is_revoked` is set."""

    is_revoked = False

    def revokes(
        self, *, token_id: str | None, tenant: str, subject: str, issued_at_s: float
    ) -> bool:
        """Return whether it does."""
        del token_id, tenant, subject, issued_at_s
        return self.is_revoked


class Talkative:
    """A peer that sends two messages, between which its token is revoked."""

    def __init__(self, revocations: Revocable) -> None:
        self.heard: list[dict[str, object]] = []
        self._revocations = revocations
        self._said = [request("send", conversation_id="c", content=text) for text in ("1", "2")]

    async def receive(self) -> str:
        async with asyncio.timeout(5):
            while len(self.heard) < 3 - len(self._said):
                await asyncio.sleep(0)
        if not self._said:
            raise Gone
        self._revocations.is_revoked = len(self._said) == 1
        return self._said.pop(0)

    async def send(self, frame: str) -> None:
        self.heard.append(json.loads(frame))

    def trust(self) -> None:
        """Be trusted."""

    def end(self, ending: Ending) -> None:
        """Be ended."""


def request(method: str, **params: object) -> str:
    return json.dumps({"type": "req", "id": method, "method": method, "params": params})


def signed() -> str:
    now = int(time.time())
    who = {"iss": "clawdbot", "aud": "clawdbot", "sub": "ada", "tenant": "default"}
    return jwt.encode(
        {**who, "scopes": ["chat"], "iat": now, "exp": now + 60}, SECRET, algorithm="HS256"
    )


async def test_nobody_speaks_with_a_token_that_was_revoked_since() -> None:
    revocations, inbox, log = Revocable(), RecordingInbox(), RecordingReplyLog()
    tokens = Tokens(secret_keys(SECRET), Rules(), revocations)
    follower = Follower(log, idle_s=0.01)
    accept = Accept(inbox, IdKey(b"0123456789abcdef"), Patience())
    services = SocketServices(accept, tokens, follower, log, SocketLimits())
    peer, token = Talkative(revocations), signed()
    following = asyncio.create_task(follower.run())

    session = Session(services, peer, await tokens.identify_token(token), token)
    await session.serve(read_request(request("connect")))

    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    assert [answer["ok"] for answer in peer.heard] == [True, True, False]
    assert peer.heard[-1]["error"]["code"] == "unauthenticated"
    assert [kept.content for kept in inbox.kept.values()] == ["1"]
