"""A real broker, provisioned, for tests: everything but the services."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from clawdbot.runtime.broker import (
    BrokerCredentials,
    BrokerProcess,
    BrokerSettings,
    new_user_seed,
)
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.config import Config
from clawdbot.runtime.config_sections import HealthPorts
from clawdbot.runtime.connection import connected
from clawdbot.runtime.provision import provision
from clawdbot.runtime.secrets import PRINCIPAL_PUBLIC, Secrets, bus_seed
from clawdbot.schema.permissions import USERS
from clawdbot.schema.principal import PrincipalSigner


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class LocalBus:
    """A provisioned broker with everybody's keys."""

    broker: BrokerProcess
    config: Config
    secrets: Secrets
    signer: PrincipalSigner

    @asynccontextmanager
    async def bus(self, user: str) -> AsyncIterator[Bus]:
        """Connect as `user`, with the permissions that the table gives."""
        async with connected(user, self.config, self.secrets) as client:
            yield Bus(client, user)


@asynccontextmanager
async def local_bus(directory: Path, **sections: Any) -> AsyncIterator[LocalBus]:
    """Start and provision a broker on a free port, with short leases.

    Args:
        directory: an empty folder for its files and secrets.
        sections: sections of `Config` that differ from the defaults.
    """
    port = free_port()
    bus = {"url": f"nats://127.0.0.1:{port}", "lease_ttl_s": 1.5, "ack_wait_s": 1.5}
    ports = dict.fromkeys(HealthPorts.model_fields, 0)
    config = Config(
        **{"app": {"data_dir": directory}, "bus": bus, "ops": {"health_ports": ports}, **sections}
    )
    secrets = Secrets(directory / "secrets")
    secrets.directory.mkdir(parents=True)
    seeds = {user: new_user_seed() for user in USERS}
    for user, seed in seeds.items():
        (secrets.directory / bus_seed(user)).write_bytes(seed)
    signer = _principal_keys(secrets)
    credentials = BrokerCredentials.from_seeds(seeds, token_hex(16))
    async with BrokerProcess(BrokerSettings(directory / "nats", port), credentials) as broker:
        await provision(config, secrets)
        yield LocalBus(broker, config, secrets, signer)


def _principal_keys(secrets: Secrets) -> PrincipalSigner:
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (secrets.directory / PRINCIPAL_PUBLIC).write_bytes(public)
    return PrincipalSigner(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
