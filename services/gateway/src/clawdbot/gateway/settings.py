"""What of the stack's configuration concerns the gateway; read by `main` alone."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from clawdbot.runtime.config import Config, ConfigError, Platforms
from clawdbot.schema.ids import Tenant

GRACE_SHARE = 0.75
"""Share of the whole grace that requests get; the rest is for closing what they used."""
CHAT_PATH = "/api/chat"
PLATFORMS_PATH = "/webhooks"


@dataclass(frozen=True)
class Settings:
    """Typed settings of the gateway, checked."""

    host: str
    port: int
    public_url: str
    """How the outside reaches us, without a slash at the end; "" when not known."""
    messages_path: str
    """Where webhook messages are posted, and below which messages are asked for."""
    webhook_is_enabled: bool
    webhook_tenant: Tenant
    callback_url: str | None
    callback_timeout_s: float
    platforms: Platforms
    """Accounts of chat platforms; each adapter checks its own."""
    chat_model: str
    max_body_bytes: int
    body_timeout_s: float
    max_inflight: int
    """Webhook requests at a time; as many chats may wait beside them."""
    publish_timeout_s: float
    turn_deadline_s: float
    chat_timeout_s: float
    request_grace_s: float
    """How long requests may take to finish once the service stops."""

    @classmethod
    def of(cls, config: Config) -> Settings:
        """Return the settings in `config`.

        Raises:
            ConfigError: it asks for what this version does not have, or holds a wrong address.
        """
        app, gateway, webhook = config.app, config.gateway, config.platforms.webhook
        _refuse_sockets(config)
        _refuse_taken_path(webhook.path)
        return cls(
            host=app.host,
            port=app.port,
            public_url=(_address("app.public_url", app.public_url) or "").rstrip("/"),
            messages_path=webhook.path.rstrip("/"),
            webhook_is_enabled=webhook.enabled,
            webhook_tenant=Tenant(webhook.tenant),
            callback_url=_address("platforms.webhook.callback_url", webhook.callback_url),
            callback_timeout_s=gateway.callback_timeout_s,
            platforms=config.platforms,
            chat_model=config.models.default_name,
            max_body_bytes=gateway.max_body_bytes,
            body_timeout_s=gateway.body_timeout_s,
            max_inflight=gateway.max_inflight,
            publish_timeout_s=gateway.publish_timeout_s,
            turn_deadline_s=gateway.turn_deadline_s,
            chat_timeout_s=gateway.chat_timeout_s,
            request_grace_s=GRACE_SHARE * config.ops.grace_s,
        )


def _refuse_sockets(config: Config) -> None:
    if config.platforms.socket.enabled:
        raise ConfigError(
            "platforms.socket.enabled: the WebSocket server is not in this version and arrives in "
            "a later one; set it to false and use the webhook or POST /api/chat"
        )


def _refuse_taken_path(path: str) -> None:
    plain = path.rstrip("/")
    if plain in {"", CHAT_PATH} or f"{plain}/".startswith(f"{PLATFORMS_PATH}/"):
        raise ConfigError(f"platforms.webhook.path: {path!r} is taken; use /api/messages")


def _address(key: str, url: str | None) -> str | None:
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"{key}: {url!r} is not an http or https address")
    return url
