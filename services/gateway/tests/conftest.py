from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
import pytest
import pytest_asyncio

from clawdbot.gateway.adapters.body import BodyLimits, Gate
from clawdbot.gateway.adapters.endpoint_blob import BlobEndpoint
from clawdbot.gateway.adapters.endpoint_chat import ChatEndpoint
from clawdbot.gateway.adapters.endpoint_conversations import ConversationsEndpoint
from clawdbot.gateway.adapters.endpoint_platform import PlatformEndpoint
from clawdbot.gateway.adapters.endpoint_status import StatusEndpoint
from clawdbot.gateway.adapters.endpoint_webhook import WebhookEndpoint
from clawdbot.gateway.adapters.http_app import Endpoints, build_app
from clawdbot.gateway.adapters.jwt_auth import Tokens
from clawdbot.gateway.adapters.jwt_claims import Rules
from clawdbot.gateway.adapters.jwt_keys import secret_keys
from clawdbot.gateway.adapters.openai_entrance import Entrance
from clawdbot.gateway.adapters.openai_routes import OpenAIEndpoints
from clawdbot.gateway.adapters.platforms.addresses import SealedAddresses
from clawdbot.gateway.adapters.platforms.connections import Connection
from clawdbot.gateway.adapters.platforms.intake import Intake
from clawdbot.gateway.adapters.records import Links
from clawdbot.gateway.adapters.revocations import NothingRevoked
from clawdbot.gateway.adapters.sender_policies import sender_policies
from clawdbot.gateway.adapters.signature import WebhookKey
from clawdbot.gateway.domain.idempotency import ClaimedKey
from clawdbot.gateway.handlers.callers import Callers
from clawdbot.gateway.handlers.conversations import OwnConversations
from clawdbot.gateway.handlers.doorkeeper import Doorkeeper
from clawdbot.gateway.handlers.messages import Accept, Converse, Inspect, Patience
from clawdbot.gateway.handlers.platforms import Receive
from clawdbot.gateway.handlers.request_keys import RequestKeys
from clawdbot.gateway.handlers.senders import Admission
from clawdbot.gateway.handlers.waiting import WaitingList
from clawdbot.gateway.ports import (
    RecordingInbox,
    RecordingInference,
    RecordingReplies,
    Screen,
)
from clawdbot.gateway.ports.conversations import RecordingConversations
from clawdbot.gateway.ports.records import InMemoryRecords
from clawdbot.runtime.config import Config
from clawdbot.runtime.health import Health
from clawdbot.runtime.telemetry import tracing
from clawdbot.schema.ids import IdKey, Tenant
from clawdbot.schema.messages import InboundMessage, OutboundMessage, ReplyKind, ReplyMetadata
from clawdbot.schema.senders import Sender
from services.gateway.tests.platforms.samples import PUBLIC_URL

WEBHOOK_SECRET = b"a shared secret of the webhook"
JWT_SECRET = b"a secret of at least thirty-two bytes"
IDS = IdKey(b"0123456789abcdef")


@pytest.fixture(scope="session", autouse=True)
def traces() -> Iterator[None]:
    with tracing("gateway", Config()):
        yield


@dataclass
class Door:
    """The whole application over recording fakes."""

    inbox: RecordingInbox = field(default_factory=RecordingInbox)
    replies: RecordingReplies = field(default_factory=RecordingReplies)
    inference: RecordingInference = field(default_factory=RecordingInference)
    memory: RecordingConversations = field(default_factory=RecordingConversations)
    claims: InMemoryRecords[ClaimedKey] = field(default_factory=InMemoryRecords)
    senders: InMemoryRecords[Sender] = field(default_factory=InMemoryRecords)
    """Whom users of tokens are linked with."""
    health: Health = field(default_factory=lambda: Health("gateway"))
    gate: Gate = field(default_factory=lambda: Gate(4))
    limits: BodyLimits = field(default_factory=lambda: BodyLimits(4096, 0.2))
    patience: Patience = field(default_factory=lambda: Patience(chat_s=0.3, tick_s=0.05))
    clock: Callable[[], float] = time.time
    connections: list[Connection] = field(default_factory=list)
    """Accounts of platforms, served beside the rest."""
    keeper: Doorkeeper | None = None
    screens: list[Screen] = field(default_factory=list)
    callers: Callers | None = None
    blobs: BlobEndpoint | None = None

    def __post_init__(self) -> None:
        self.screens.append(RequestKeys(self.claims, IDS))

    def app(self) -> Any:
        return build_app(self.endpoints(), self.health.asgi, self.keeper)

    def endpoints(self) -> Endpoints:
        key = WebhookKey(WEBHOOK_SECRET)
        tokens = Tokens(secret_keys(JWT_SECRET), Rules(), NothingRevoked())
        links = Links("", "/api/messages")
        admission = self._admission()
        accept = Accept(self.inbox, IDS, self.patience, screens=self.screens)
        converse = Converse(accept, self.replies, self.patience)
        inspect = Inspect(self.inbox, self.replies, self.patience)
        tenant = Tenant("default")
        return Endpoints(
            chat=ChatEndpoint(converse, tokens, self.limits, self.gate, links),
            status=StatusEndpoint(inspect, tokens, key, tenant),
            webhook=WebhookEndpoint(accept, key, tenant, self.limits, self.gate, links),
            messages_path="/api/messages",
            platforms=self._platforms(accept),
            openai=OpenAIEndpoints.over(
                self.inference,
                converse,
                self.patience,
                Entrance(tokens, self.limits, self.gate, self.callers),
            ),
            conversations=ConversationsEndpoint(
                OwnConversations(self.memory, accept.envelope, admission, accept.conversation),
                tokens,
                self.gate,
                self.callers,
            ),
            blobs=self.blobs,
        )

    def _admission(self) -> Admission:
        policies = sender_policies(
            [], webhook_tenant=Tenant("default"), webhook_may_link=False, api_may_link=True
        )
        return Admission(policies, self.senders, WaitingList(InMemoryRecords()))

    def _platforms(self, accept: Accept) -> dict[str, PlatformEndpoint]:
        receive = Receive(accept, SealedAddresses(b"k" * 32))
        return {
            path: PlatformEndpoint(
                Intake(connection, receive), PUBLIC_URL, BodyLimits(), now=self.clock
            )
            for connection in self.connections
            for path in connection.paths
        }


@pytest.fixture
def door() -> Door:
    return Door()


@pytest_asyncio.fixture
async def client(door: Door) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(door.app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


@pytest.fixture
def sign() -> Callable[[bytes], str]:
    return lambda data: hmac.new(WEBHOOK_SECRET, data, hashlib.sha256).hexdigest()


Post = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture
def payload() -> Callable[..., bytes]:
    def make(**fields: object) -> bytes:
        given = {"sender_id": "user123", "content": "hello", "timestamp": 1672531200, **fields}
        return json.dumps({key: value for key, value in given.items() if value is not ...}).encode()

    return make


@pytest.fixture
def post_signed(client: httpx.AsyncClient, sign: Callable[[bytes], str]) -> Post:
    async def post(body: bytes, **headers: str) -> httpx.Response:
        signed = {"X-Signature": sign(body), **headers}
        return await client.post("/api/messages", content=body, headers=signed)

    return post


@pytest.fixture
def token() -> Callable[..., str]:
    def make(*, secret: bytes = JWT_SECRET, algorithm: str = "HS256", **claims: object) -> str:
        given = {
            "iss": "clawdbot",
            "aud": "clawdbot",
            "sub": "ada",
            "tenant": "default",
            "scopes": ["chat"],
            "iat": int(time.time()),
            "exp": int(time.time()) + 60,
            **claims,
        }
        kept = {name: value for name, value in given.items() if value is not ...}
        return jwt.encode(kept, secret, algorithm=algorithm)

    return make


@pytest.fixture
def bearer(token: Callable[..., str]) -> Callable[..., dict[str, str]]:
    return lambda **claims: {"Authorization": f"Bearer {token(**claims)}"}


@pytest.fixture
def reply_to() -> Callable[..., OutboundMessage]:
    def make(
        message: InboundMessage,
        content: str = "hi",
        kind: ReplyKind = ReplyKind.REPLY,
        metadata: ReplyMetadata | None = None,
    ) -> OutboundMessage:
        return OutboundMessage(
            channel=message.channel,
            tenant=message.tenant,
            conversation_id=message.conversation_id,
            message_id=message.message_id,
            kind=kind,
            content=content,
            metadata=metadata or ReplyMetadata(),
            reply_to=message.reply_to,
            created_at_ms=1_700_000_000_500,
        )

    return make
