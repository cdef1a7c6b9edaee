"""What a nats-server is told: where it stores, who may connect, and what each may say and hear.

Images bring their own broker and take this configuration alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_bytes
from typing import Literal, Self

import nkeys

from clawdbot.schema.codec import BROKER_MAX_PAYLOAD_BYTES
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.permissions import TABLE, USERS, Permission

KEY_VARIABLE = "JS_KEY"
"""Environment variable that the configuration takes the encryption key from."""
SYNC_INTERVAL = {"strict": "always", "relaxed": "1s"}
MAX_PAYLOAD_BYTES = BROKER_MAX_PAYLOAD_BYTES


@dataclass(frozen=True)
class BrokerSettings:
    """How a broker runs."""

    directory: Path
    """Holds the configuration and, below `jetstream`, everything that is stored."""
    port: int
    durability: Literal["strict", "relaxed"] = "strict"
    """`strict` answers after each write is on disk; `relaxed` may lose the last second."""
    host: str = "127.0.0.1"
    monitoring_port: int | None = None
    """Serves the broker's own metrics on loopback; they have no authentication."""


@dataclass(frozen=True)
class BrokerCredentials:
    """Who may connect, and what the store is encrypted with."""

    public_keys: Mapping[str, str]
    """By user, for each of `clawdbot.schema.permissions.USERS`."""
    jetstream_key: str = field(repr=False)

    @classmethod
    def from_seeds(cls, seeds: Mapping[str, bytes], jetstream_key: str) -> Self:
        """Return the credentials of users whose seeds we hold."""
        return cls({user: public_key(seed) for user, seed in seeds.items()}, jetstream_key)


def render_broker_config(settings: BrokerSettings, public_keys: Mapping[str, str]) -> str:
    """Return the configuration of a nats-server; it holds no secret.

    The server reads the encryption key from the environment variable `JS_KEY`.
    """
    monitoring = f'http: "127.0.0.1:{settings.monitoring_port}"\n'
    users = ",\n".join(f"    {_user(public_keys[user], TABLE[user])}" for user in USERS)
    return f"""server_name: clawdbot
listen: {json.dumps(f"{settings.host}:{settings.port}")}
{monitoring if settings.monitoring_port is not None else ""}max_payload: {MAX_PAYLOAD_BYTES}
ping_interval: "5s"
ping_max: 2
write_deadline: "10s"
jetstream {{
  store_dir: {json.dumps(str(settings.directory))}
  sync_interval: {SYNC_INTERVAL[settings.durability]}
  cipher: aes
  key: ${KEY_VARIABLE}
}}
authorization {{
  users: [
{users}
  ]
}}
"""


def _user(nkey: str, permission: Permission) -> str:
    allowed: dict[str, object] = {
        "publish": {"allow": permission.publish},
        "subscribe": {"allow": permission.subscribe},
    }
    if permission.responds:
        # One streamed answer is many messages, over as long as a model may think.
        allowed["allow_responses"] = {"max": 100_000, "expires": "10m"}
    return json.dumps({"nkey": nkey, "permissions": allowed})


def new_user_seed() -> bytes:
    """Return the seed (`SU...`) of a new user of the bus; a secret."""
    seed: bytes = nkeys.encode_seed(token_bytes(32), nkeys.PREFIX_BYTE_USER)
    return seed


def public_key(seed: bytes) -> str:
    """Return the public key (`U...`) that belongs to a user's seed.

    Raises:
        Unavailable: `seed` is not a seed.
    """
    try:
        key: bytes = nkeys.from_seed(bytearray(seed.strip())).public_key
    except (nkeys.NkeysError, ValueError) as exc:
        raise Unavailable("a nats_<user> secret is not an nkey seed") from exc
    return key.decode("ascii")
