"""What of the stack's configuration concerns the gateway; read by `main` alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

from clawdbot.runtime.config import Config, ConfigError
from clawdbot.runtime.config_sections import (
    App,
    Gateway,
    JWTSettings,
    Platforms,
    RateSettings,
    Socket,
)
from clawdbot.runtime.egress import EgressGuard
from clawdbot.schema.errors import InvalidMessage
from clawdbot.schema.ids import Tenant
from clawdbot.schema.streams import INBOUND

GRACE_SHARE = 0.75
"""Share of the whole grace that requests get; the rest is for closing what they used."""
PORTS = {"http": 80, "https": 443}
CHAT_PATH = "/api/chat"
SOCKET_PATH = "/ws"
TAKEN_PREFIXES = ("/webhooks/", "/v1/")
TAKEN_PATHS = frozenset(
    {"", CHAT_PATH, SOCKET_PATH, "/blobs", "/healthz", "/readyz", "/startupz", "/metrics"}
)
DEDUPE_SLACK_S = 3600
"""How much sooner than the broker forgets a message it has to be too old."""
PRINCIPAL_SLACK_S = 60
"""How much longer than an answer is wanted a message's principal is believed."""


@dataclass(frozen=True)
class Settings:
    """Typed settings of the gateway, checked."""

    host: str
    port: int
    workers: int
    """Gateway processes on this port."""
    tls_files: tuple[Path, Path] | None
    """Certificate with its chain, and its private key; None serves without TLS."""
    trusted_proxies: tuple[str, ...]
    """Whose word on the client's address is taken."""
    public_url: str
    """How the outside reaches us, without a slash at the end; "" when not known."""
    messages_path: str
    """Where webhook messages are posted, and below which messages are asked for."""
    webhook_is_enabled: bool
    webhook_tenant: Tenant
    webhook_max_age_s: float | None
    """Oldest message that is taken; None takes any."""
    callback_url: str | None
    callback_timeout_s: float
    jwt: JWTSettings
    """Which API tokens are believed."""
    webhook_may_link: bool
    api_may_link: bool
    """Whether their senders can be linked to those of other channels."""
    platforms: Platforms
    """Accounts of chat platforms; each adapter checks its own."""
    socket: Socket
    """The WebSocket server on a port of its own."""
    limits: Gateway
    """Of WebSockets, as the section has them; our own pages are among those that may connect."""
    chat_model: str
    max_body_bytes: int
    body_timeout_s: float
    max_inflight: int
    """Webhook requests at a time; as many chats may wait beside them."""
    rates: RateSettings
    publish_timeout_s: float
    turn_deadline_s: float
    chat_timeout_s: float
    max_attachment_bytes: int
    attachment_timeout_s: float
    egress_allowed_hosts: tuple[str, ...]
    """Exact `host:port` that files may come from, wherever they lead."""
    blob_url_ttl_s: float
    request_grace_s: float
    """How long requests may take to finish once the service stops."""

    @classmethod
    def of(cls, config: Config) -> Settings:
        """Return the settings in `config`.

        Raises:
            ConfigError: it asks for what this version does not have, or holds a wrong address.
        """
        app, gateway, webhook = config.app, config.gateway, config.platforms.webhook
        _refuse_taken_path(webhook.path)
        _refuse_own_address(webhook.callback_url, app.public_url)
        return cls(
            host=app.host,
            port=app.port,
            workers=gateway.workers,
            tls_files=_tls_files(app.tls_certificate, app.tls_key),
            trusted_proxies=tuple(map(_network, app.trusted_proxies)),
            public_url=(_address("app.public_url", app.public_url) or "").rstrip("/"),
            messages_path=webhook.path.rstrip("/"),
            webhook_is_enabled=webhook.enabled,
            webhook_tenant=Tenant(webhook.tenant),
            webhook_max_age_s=_remembered(webhook.max_age_s),
            callback_url=_address("platforms.webhook.callback_url", webhook.callback_url),
            callback_timeout_s=gateway.callback_timeout_s,
            jwt=gateway.jwt,
            webhook_may_link=webhook.identity_links,
            api_may_link=gateway.identity_links,
            platforms=config.platforms,
            socket=config.platforms.socket,
            limits=gateway.model_copy(update={"socket_origins": _origins(app, gateway)}),
            chat_model=config.models.default_name,
            max_body_bytes=gateway.max_body_bytes,
            body_timeout_s=gateway.body_timeout_s,
            max_inflight=gateway.max_inflight,
            rates=gateway.rates,
            publish_timeout_s=gateway.publish_timeout_s,
            turn_deadline_s=gateway.turn_deadline_s,
            chat_timeout_s=gateway.chat_timeout_s,
            max_attachment_bytes=gateway.max_attachment_bytes,
            attachment_timeout_s=gateway.attachment_timeout_s,
            egress_allowed_hosts=_hosts(gateway.egress_allowed_hosts),
            blob_url_ttl_s=gateway.blob_url_ttl_s,
            request_grace_s=GRACE_SHARE * config.ops.grace_s,
        )

    @property
    def principal_ttl_s(self) -> int:
        """How long a principal is believed: as long as its message may wait for its turn."""
        return math.ceil(self.turn_deadline_s) + PRINCIPAL_SLACK_S


def _origins(app: App, gateway: Gateway) -> tuple[str, ...]:
    """Return the web pages that may open a WebSocket, lower case and without a path."""
    scheme = "https" if app.tls_certificate else "http"
    parts = urlsplit(app.public_url or f"{scheme}://{app.host}:{app.port}")
    listed = (origin.rstrip("/") for origin in gateway.socket_origins)
    return tuple(sorted({o.lower() for o in (*listed, f"{parts.scheme}://{parts.netloc}")}))


def _hosts(entries: tuple[str, ...]) -> tuple[str, ...]:
    try:
        EgressGuard(entries)
    except InvalidMessage as exc:
        raise ConfigError(f"gateway.egress_allowed_hosts: {exc.message}") from exc
    return entries


def _refuse_taken_path(path: str) -> None:
    plain = path.rstrip("/")
    if plain in TAKEN_PATHS or f"{plain}/".startswith(TAKEN_PREFIXES):
        raise ConfigError(f"platforms.webhook.path: {path!r} is taken; use /api/messages")


def _remembered(max_age_s: float | None) -> float | None:
    longest_s = INBOUND.max_age.total_seconds() - DEDUPE_SLACK_S
    if max_age_s is not None and max_age_s > longest_s:
        raise ConfigError(
            f"platforms.webhook.max_age_s: must be {longest_s:g} or less; "
            "the broker forgets older messages and would take them again"
        )
    return max_age_s


def _refuse_own_address(callback_url: str | None, public_url: str | None) -> None:
    callback = _address("platforms.webhook.callback_url", callback_url)
    public = _address("app.public_url", public_url)
    if callback is None or public is None:
        return
    (origin, path), (own_origin, own_path) = _place(callback), _place(public)
    if origin == own_origin and f"{path}/".startswith(f"{own_path.rstrip('/')}/"):
        raise ConfigError(
            f"platforms.webhook.callback_url: {callback!r} is below app.public_url; "
            "replies would come back to the gateway, so use an address of your own service"
        )


def _place(url: str) -> tuple[tuple[str | None, int], str]:
    parts = urlsplit(url)
    return (parts.hostname, parts.port or PORTS[parts.scheme]), parts.path


def _tls_files(certificate: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ConfigError("app.tls_certificate and app.tls_key: give both, or neither")
    return certificate, key


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as exc:
        raise ConfigError(
            f"app.trusted_proxies: {exc}; write a network such as 10.0.0.0/8 or an address"
        ) from exc


def _address(key: str, url: str | None) -> str | None:
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        # Reading the port is what checks it.
        is_address = parts.scheme in PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise ConfigError(f"{key}: {url!r} is not an http or https address")
    return url
