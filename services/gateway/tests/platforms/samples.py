"""What the contract test needs to know of a platform; `<name>.py` beside this has `SAMPLES`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from clawdbot.gateway.adapters.platforms.interface import Account, PlatformAdapter
from clawdbot.gateway.adapters.platforms.registry import configured, load
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest
from clawdbot.runtime.config_sections import Platforms
from clawdbot.runtime.secrets import Secrets

NOW = 1_700_000_000.0
PUBLIC_URL = "https://bot.example"


@dataclass(frozen=True)
class Samples:
    """One platform's traffic, made up or published."""

    platform: str
    secrets: dict[str, bytes]
    """By what they are for; files hold exactly this."""
    request: Callable[[bytes, float], RawRequest]
    """Signs a body at a time as the platform would; the path is the account's short one."""
    message: bytes
    """One person says one thing."""
    sender_id: str
    content: str
    ack: HTTPAnswer
    """Answer to `message`."""
    api: Callable[[httpx.Request], httpx.Response]
    """The platform's API when all is well."""
    destination: str
    """Stands in the body or URL of a request that replies to `message`: its chat's id."""
    traits: tuple[bool, bool]
    """Whether a reply to `message` sent twice shows once, and whether it can be edited."""
    pressed: Callable[[str], bytes] | None = None
    """The same person presses a button with this value, below the reply to `message`."""
    settings: dict[str, object] = field(default_factory=dict)
    redelivered: bytes | None = None
    """`message` as the platform sends it again; None when that is the same bytes."""
    ignored: tuple[bytes, ...] = ()
    """Authentic bodies that publish nothing: own and bots' messages, unknown events, edits."""
    handshakes: tuple[tuple[Callable[[float], RawRequest], HTTPAnswer], ...] = ()
    signature_headers: tuple[str, ...] = ()
    """Each of them missing, empty, doubled, not ASCII or changed is 401."""
    signature_parameters: tuple[str, ...] = ()
    """The same of the query's parameters."""
    reads_unsigned: bool = False
    """Whether a handshake has no signature, so that bodies are read to tell."""
    window_s: float | None = None
    """Age, and time ahead, beyond which a signed request is refused; None when nothing is dated."""
    keys_url: str = ""
    """Where `api` publishes what requests are signed with: all that a request alone may have us ask
    for."""
    failure_status: int = 503
    """Status when a message cannot be kept; another one where the platform does not try again."""
    garbage_status: frozenset[int] = frozenset({200})
    """Statuses for authentic bytes that cannot be read."""


def account_of(samples: Samples, directory: Path) -> Account[Any]:
    """Return the default account of the sample's platform, secrets written to `directory`."""
    for what, value in samples.secrets.items():
        (directory / f"{samples.platform}_default_{what}").write_bytes(value)
    section = {"accounts": {"default": samples.settings}}
    platforms = Platforms.model_validate({samples.platform: section})
    (account,) = configured(platforms, load([samples.platform]), Secrets(directory), PUBLIC_URL)
    return account


def adapter_of(
    samples: Samples, directory: Path, client: httpx.AsyncClient | None = None
) -> PlatformAdapter:
    """Return the adapter of the sample's account; without a client it can only receive."""
    platform = load([samples.platform])[samples.platform]
    return platform.build(account_of(samples, directory), client or httpx.AsyncClient())
