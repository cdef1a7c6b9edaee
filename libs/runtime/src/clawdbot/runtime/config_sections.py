"""The sections of the configuration file: every key, its type, its default and what it means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from clawdbot.schema.ids import Channel, token
from clawdbot.schema.streams import CONNECTION_TTL

PLATFORM_NAME = re.compile(r"[a-z0-9_]{1,31}")
"""Without a hyphen, which joins platform and account to the name of a channel."""


SenderId = Annotated[str, Field(min_length=1, max_length=256, coerce_numbers_to_str=True)]
"""YAML reads the ids of several platforms as numbers."""


class Section(BaseModel):
    """A part of the file; frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class App(Section):
    """`app`: the edge, and what concerns the whole stack."""

    host: str = "127.0.0.1"
    """Address that the gateway listens on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port that the gateway listens on; 0 takes any free one."""
    debug: bool = False
    """Logs at level DEBUG and reports coroutines that block the event loop; never any content."""
    data_dir: Path = Path("./.clawdbot")
    """Where the local stack keeps secrets and the broker's files."""
    public_url: str | None = None
    """How the outside reaches the gateway; `http://host:port` when not given."""
    tls_certificate: Path | None = None
    """PEM file with the certificate and its chain; with it the gateway speaks TLS 1.2 or newer. A
    new file is noticed within a minute, without a restart."""
    tls_key: Path | None = None
    """PEM file with the certificate's private key, without a password."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks, such as `10.0.0.0/8`, whose `X-Forwarded-For` is believed; nobody's by default."""


class Memory(Section):
    """`memory`: where memories are kept and how they are ranked."""

    storage_type: Literal["sqlite", "postgresql", "mysql"] = "sqlite"
    """Kind of database; only `sqlite` is there yet."""
    db_path: Path = Path("./memory.db")
    """The SQLite file."""
    database_url: str | None = None
    """Address of a database server, where `storage_type` names one."""
    fusion_semantic_weight: float = Field(default=0.6, ge=0, le=1)
    """Share of meaning in the fused score; the rest is keywords. Belongs to the embedding model."""
    index_budget_mb: int = Field(default=512, ge=1)
    """Memory that loaded vector indexes may take before the least recently used is dropped."""


class Models(Section):
    """`models`: which models are served."""

    default: str = "smollm2-135m-instruct"
    """Chat model: the name of a folder in `directory`, or the path of an `.onnx` file."""
    context_length: int = Field(default=2048, ge=128)
    """Tokens that prompt and answer may have together; the model's own limit still holds."""
    directory: Path = Path("./models")
    """Folder of `<name>/<version>/` model folders."""
    embedding: str = "multilingual-e5-small"
    """Embedding model: the name of a folder in `directory`."""
    threads: int = Field(default=2, ge=1)
    """CPU threads that one model may use at a time."""

    @property
    def default_path(self) -> Path | None:
        """The file that `default` names, when it is a path."""
        is_path = self.default.endswith(".onnx") or "/" in self.default
        return Path(self.default) if is_path else None

    @property
    def default_name(self) -> str:
        """The chat model's name as a subject token."""
        path = self.default_path
        if path is None:
            return self.default
        # models/<name>/<version>/model.onnx is our own layout; anything else is named by its file.
        name = path.parent.parent.name if path.name == "model.onnx" else path.stem
        return re.sub(r"[^A-Za-z0-9_-]", "-", name)[:64] or "model"


class Webhook(Section):
    """`platforms.webhook`: signed messages in, signed replies out."""

    enabled: bool = True
    """Whether signed messages are taken."""
    path: str = Field(default="/api/messages", pattern=r"^/[A-Za-z0-9/_-]+$")
    """Where they are taken; replies are read at `{path}/{message_id}`."""
    tenant: str = Field(default="default", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Tenant that its messages belong to."""
    callback_url: str | None = None
    """Where replies are posted; without it they are read by `GET {path}/{message_id}`."""
    max_age_s: float | None = Field(default=None, gt=0)
    """Oldest `timestamp` that is taken; without it a captured message can be sent again once the
    broker forgot it (after three days)."""
    identity_links: bool = False
    """Whether its senders can be linked to those of other channels; whoever has its secret can then
    speak as a linked person."""


class Socket(Section):
    """`platforms.socket`: the WebSocket server beside `/ws` of the main port."""

    enabled: bool = False
    """Whether WebSocket clients are also served on a port of their own."""
    port: int = Field(default=8001, ge=0, le=65535)
    """That port; 0 takes any free one."""


class PlatformAccount(BaseModel):
    """One account of a chat platform; the keys beside `tenant` are the platform's own."""

    model_config = ConfigDict(frozen=True, extra="allow")

    tenant: str = Field(default="default", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Tenant that its messages belong to."""
    senders: Literal["open", "allow_list", "pairing"] | None = None
    """Who is answered: everybody, those in `allowed`, or those too whom `clawdbot senders approve`
    let in. `pairing` when not given; `open` for `standard_webhooks`, whose sender is a program of
    yours."""
    allowed: tuple[SenderId, ...] = Field(default=(), max_length=10_000)
    """The platform's own ids of people who need no code."""
    identity_links: bool = False
    """Whether its senders can be linked to those of other channels (`clawdbot senders link`)."""
    connection: Literal["webhook", "socket"] = "webhook"
    """Who calls whom: the platform a webhook of ours, or we the platform, which takes no public
    address. With `socket` the account has no webhook."""

    @model_validator(mode="after")
    def _somebody_is_let_in(self) -> PlatformAccount:
        if self.senders == "allow_list" and not self.allowed:
            raise ValueError("senders: allow_list lets nobody in while allowed is empty")
        if self.senders == "open" and self.allowed:
            raise ValueError("allowed means nothing with senders: open; leave one of them out")
        return self

    @property
    def own(self) -> dict[str, Any]:
        """What only the platform's adapter in the gateway understands, and checks at its start."""
        return dict(self.model_extra or {})


class Platform(Section):
    """`platforms.<name>`: a chat platform that an adapter of the gateway speaks with."""

    enabled: bool = True
    """Whether its messages are taken and its replies sent."""
    accounts: dict[str, PlatformAccount] = {"default": PlatformAccount()}
    """Accounts by name."""


class Platforms(Section):
    """`platforms`: the ways in; a section of any other name is a chat platform's."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Platform] = Field(init=False)

    webhook: Webhook = Webhook()
    socket: Socket = Socket()

    @model_validator(mode="after")
    def _names_fit_into_addresses(self) -> Platforms:
        for platform, section in self.chat.items():
            for name in (platform, *section.accounts):
                if not PLATFORM_NAME.fullmatch(name):
                    raise ValueError(f"the name {name!r} is not 1 to 31 of a-z 0-9 _")
        return self

    @property
    def chat(self) -> dict[str, Platform]:
        """The chat platforms by name, those that are switched off included."""
        return dict(self.__pydantic_extra__)

    def channels(self) -> Iterator[tuple[str, str, Channel]]:
        """Yield platform, account and channel of each account that is switched on."""
        for platform, section in self.chat.items():
            for account in section.accounts if section.enabled else ():
                channel = platform if account == "default" else f"{platform}-{account}"
                yield platform, account, Channel(token(channel, "channel"))


class RateSettings(Section):
    """`gateway.rates`: how much may come; over it 429. A rate of `null` is no limit at all.

    Each replica counts for itself and tells the others once a second (see docs/limits.md).
    """

    conversation_per_s: float | None = Field(default=20, gt=0)
    """New messages of one conversation; as many repetitions are counted apart."""
    conversation_burst: int = Field(default=120, ge=1)
    """How many of them may come at once, after a pause."""
    conversation_inflight: int = Field(default=16, ge=1)
    """Messages of one conversation that may be on their way to the broker at the same time."""
    sender_per_s: float | None = Field(default=10, gt=0)
    """New messages of one sender: a user of a platform account, or the subject of a token."""
    sender_burst: int = Field(default=60, ge=1)
    """How many of them may come at once, after a pause."""
    sender_chats: int = Field(default=32, ge=1)
    """Questions of one sender that may wait for their answers at the same time."""
    channel_per_s: float | None = Field(default=500, gt=0)
    """Messages to one account of a platform, the webhook, or one tenant's part of the API."""
    channel_burst: int = Field(default=1000, ge=1)
    """How many of them may come at once, after a pause."""
    tenant_per_s: float | None = Field(default=1000, gt=0)
    """Messages of one tenant."""
    tenant_burst: int = Field(default=2000, ge=1)
    """How many of them may come at once, after a pause."""
    address_per_s: float | None = Field(default=1000, gt=0)
    """Authentic requests from one IPv4 address or IPv6 network (/64); platforms share few."""
    address_burst: int = Field(default=2000, ge=1)
    """How many of them may come at once, after a pause."""
    failure_per_s: float | None = Field(default=0.5, gt=0)
    """Requests from one address that do not show who sent them."""
    failure_burst: int = Field(default=30, ge=1)
    """How many of them may come at once, after a pause."""
    max_keys: int = Field(default=65_536, ge=1024)
    """Conversations, senders, addresses and so on that are remembered, of each kind."""


class JWTSettings(Section):
    """`gateway.jwt`: which API tokens are believed (docs/tokens.md)."""

    algorithm: Literal["HS256", "RS256", "EdDSA"] = "HS256"
    """The only one: HS256 needs the secret `jwt_secret`; RS256 and EdDSA (Ed25519) need
    `jwt_public_keys` or `jwks_url`."""
    issuer: str = Field(default="clawdbot", min_length=1, max_length=1024)
    """The `iss` that a token must have."""
    audience: str = Field(default="clawdbot", min_length=1, max_length=1024)
    """The `aud` that a token must have."""
    jwks_url: str | None = None
    """Where an identity provider publishes its keys: https, or http to this machine."""
    jwks_refresh_s: float = Field(default=300, ge=10, le=86_400)
    """How often they are fetched; a key that is not there any more is not believed after that."""
    tenant_claim: str = Field(default="tenant", min_length=1, max_length=256)
    """The claim that names the tenant."""
    default_tenant: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Tenant of tokens without that claim; without it they are refused."""
    scopes_claim: str = Field(default="scopes", min_length=1, max_length=256)
    """The claim with the scopes: a list, or a text with spaces between them (OAuth's `scope`)."""

    @model_validator(mode="after")
    def _keys_have_a_safe_way(self) -> JWTSettings:
        if self.jwks_url is None:
            return self
        if self.algorithm == "HS256":
            raise ValueError("jwks_url publishes keys, and a secret of HS256 must not be public")
        parts = urlsplit(self.jwks_url)
        is_local = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"}
        if not parts.hostname or not (parts.scheme == "https" or is_local) or "@" in parts.netloc:
            raise ValueError("jwks_url must be https, or http to this machine, without a password")
        return self


class Gateway(Section):
    """`gateway`: limits at the door."""

    workers: int = Field(default=1, ge=1, le=64)
    """Gateway processes that `clawdbot up` starts on one port; elsewhere, start more replicas. The
    health port of each further one is 100 above that of the one before."""
    chat_timeout_s: float = Field(default=120, gt=0)
    """How long `POST /api/chat` waits for the reply; it can be fetched later all the same."""
    turn_deadline_s: float = Field(default=3600, gt=0, le=86_400)
    """After this nobody wants the answer to a message any more."""
    max_body_bytes: int = Field(default=1_048_576, ge=1024)
    """Longest request body; a longer one is answered 413."""
    body_timeout_s: float = Field(default=10, gt=0)
    """How long a body may take to arrive; then 408."""
    publish_timeout_s: float = Field(default=2.0, gt=0)
    """Below the shortest deadline that platforms give before they send again."""
    max_inflight: int = Field(default=256, ge=1)
    """Requests of a kind that are worked on at a time; beyond them 429."""
    callback_timeout_s: float = Field(default=10, gt=0)
    """How long the callback address may take to answer."""
    rates: RateSettings = RateSettings()
    jwt: JWTSettings = JWTSettings()
    identity_links: bool = False
    """Whether users of API tokens can be linked to senders of other channels."""
    socket_origins: tuple[str, ...] = ()
    """Origins of web pages that may open a WebSocket, beside our own: `https://app.example.org`."""
    socket_connections: int = Field(default=1024, ge=1)
    """Open WebSockets; a quarter of them may still have to say who they are."""
    socket_connections_per_user: int = Field(default=16, ge=1)
    """Open WebSockets of one user."""
    socket_conversations: int = Field(default=32, ge=1, le=1000)
    """Conversations that one WebSocket hears of."""
    socket_queue_frames: int = Field(default=256, ge=8)
    """Frames that may wait to be sent on one WebSocket; then it is closed with 4008."""
    socket_queue_chars: int = Field(default=1_048_576, ge=65_536)
    """Characters in those frames; a single longer frame is still sent."""
    socket_stall_s: float = Field(default=15, gt=0)
    """How long a WebSocket's reader may take nothing; then it is closed with 4008."""
    socket_heartbeat_s: float = Field(default=20, gt=0)
    """How often each side of a WebSocket hears that the other one is there."""
    max_attachment_bytes: int = Field(default=20_971_520, ge=1024)
    """Longest file that is fetched; a longer one is left where it is."""
    attachment_timeout_s: float = Field(default=30, gt=0)
    """How long a file may take, from asking its host to its last byte."""
    egress_allowed_hosts: tuple[str, ...] = ()
    """Exact `host:port` of file hosts that may be private and plain HTTP, such as those of a
    platform on one's own premises. A risk: whoever sends messages can have them asked."""
    blob_url_ttl_s: float = Field(default=3600, ge=60, le=86_400)
    """How long the address of a file that goes with a reply works."""


class Assistant(Section):
    """`assistant`: bounds of a turn."""

    concurrency: int = Field(default=8, ge=1)
    """Conversations that one replica works on at the same time."""
    max_tokens: int = Field(default=200, ge=1)
    """Longest answer, in tokens of the chat model."""
    recall_limit: int = Field(default=6, ge=0, le=100)
    """Memories that may stand in a prompt; 0 recalls nothing."""
    history_lines: int = Field(default=12, ge=0, le=500)
    """Lines of the conversation that may stand in a prompt."""
    think_timeout_s: float = Field(default=90, gt=0)
    """How long the model may take for an answer."""
    call_timeout_s: float = Field(default=10, gt=0)
    """How long memory and executor may take for a call."""


class Inference(Section):
    """`inference`: how many at once."""

    slots: int = Field(default=4, ge=1, le=64)
    """Answers that are generated together; each takes a full context of key-value memory."""
    max_queue: int = Field(default=64, ge=1)
    """Requests that may wait for a slot; beyond them `Overloaded`."""


class Executor(Section):
    """`executor`: how many at once."""

    concurrency: int = Field(default=4, ge=1, le=64)
    """Operations that run at the same time, each under a uid of its own."""
    approval_ttl_s: float = Field(default=120, gt=0, le=86_400)
    """How long a person has to answer when an operation needs their approval; then it means no."""


class BusSettings(Section):
    """`bus`: the broker, and how patient we are with it."""

    url: str = "nats://127.0.0.1:4222"
    """Address of the broker."""
    durability: Literal["strict", "relaxed"] = "strict"
    """`strict` syncs each write to disk, `relaxed` once a second (see docs/durability.md)."""
    replicas: int = Field(default=1, ge=1, le=5)
    """Copies of each stream in a cluster of brokers."""
    blobs_max_mb: int = Field(default=1024, ge=1)
    """Room of the object store for files, in MiB; when it is full, no more files are taken."""
    lease_ttl_s: float = Field(default=15, ge=1)
    """How long a dead worker keeps its conversation."""
    ack_wait_s: float = Field(default=15, ge=1)
    """How long a silent worker keeps a delivery before another gets it."""
    max_attempts: int = Field(default=8, ge=1)
    """Attempts at one message, crashes included, before it becomes a dead letter.

    With the back-off between them, 8 are about half a minute: a service can restart meanwhile.
    """

    @property
    def connection_ttl_s(self) -> float:
        """How long a dead gateway keeps the connection to a platform.

        People wait meanwhile, so that it is bounded whatever `lease_ttl_s` says.
        """
        return min(self.lease_ttl_s, CONNECTION_TTL.total_seconds())


class Telemetry(Section):
    """`telemetry`: traces."""

    otlp_endpoint: str | None = None
    """OTLP/HTTP base address, such as `http://127.0.0.1:4318`; none means nothing is exported."""
    sample_ratio: float = Field(default=1.0, ge=0, le=1)
    """Share of traces that are recorded, where their origin did not decide."""


class HealthPorts(Section):
    """`ops.health_ports`: where each service shows health and metrics; 0 takes any free port."""

    gateway: int = Field(default=8010, ge=0, le=65535)
    assistant: int = Field(default=8011, ge=0, le=65535)
    inference: int = Field(default=8012, ge=0, le=65535)
    memory: int = Field(default=8013, ge=0, le=65535)
    executor: int = Field(default=8014, ge=0, le=65535)


class Ops(Section):
    """`ops`: health, logs, shutdown."""

    health_host: str = "127.0.0.1"
    """Address that the health pages of all services listen on."""
    health_ports: HealthPorts = HealthPorts()
    log_format: Literal["auto", "json", "text"] = "auto"
    """`auto` is text on a terminal and JSON elsewhere."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is logged."""
    grace_s: float = Field(default=20, gt=0)
    """Time to finish or hand back work after SIGTERM."""
