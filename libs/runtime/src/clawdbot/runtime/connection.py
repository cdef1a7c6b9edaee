"""One connection to the broker: endless reconnects with jitter, quick notice of a dead link."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import nats
import nats.errors
import nkeys
from nats.aio.client import Client

from clawdbot.runtime import metrics
from clawdbot.runtime.config import Config, ConfigError
from clawdbot.runtime.secrets import Secrets, bus_seed
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.permissions import inbox

log = logging.getLogger(__name__)

PING_INTERVAL_S = 10
"""nats-py's 120 s would leave a half-open link unnoticed for four minutes."""
START_TIMEOUT_S = 30.0
"""How long a service waits for the broker when it starts."""


class _Watch:
    """Notes and logs what becomes of the connection."""

    def __init__(self, on_closed: Callable[[], None] | None) -> None:
        self.is_closing = False
        self.last_error = "no answer"
        self._on_closed = on_closed

    async def on_disconnected(self) -> None:
        metrics.bus_connected.set(0)
        if not self.is_closing:
            log.warning("connection to the broker lost")

    async def on_reconnected(self) -> None:
        metrics.bus_connected.set(1)
        log.info("connection to the broker restored")

    async def on_closed(self) -> None:
        # For some errors of the broker nats-py closes for good and never comes back.
        if not self.is_closing and self._on_closed is not None:
            log.critical("connection to the broker closed", extra={"error": self.last_error})
            self._on_closed()

    async def on_error(self, error: Exception) -> None:
        self.last_error = f"{type(error).__name__}: {error}"
        log.warning("broker client error", extra={"error": self.last_error})


@asynccontextmanager
async def connected(
    user: str,
    config: Config,
    secrets: Secrets,
    *,
    on_closed: Callable[[], None] | None = None,
    within_s: float = START_TIMEOUT_S,
) -> AsyncIterator[Client]:
    """Connect as `user` and close at the end.

    Args:
        user: whose key and permissions.
        config: where the broker is.
        secrets: hold the key.
        on_closed: called when the connection ends and will not come back.
        within_s: how long the first connection may take.

    Raises:
        Unavailable: the broker could not be reached within `within_s`.
        ConfigError: the user's key is missing or no nkey seed.
    """
    watch = _Watch(on_closed)
    seed = secrets.text(bus_seed(user))
    # With endless reconnects nats-py also makes its first attempt endless.
    try:
        async with asyncio.timeout(within_s):
            client = await _connect(user, config.bus.url, seed, watch)
    except nkeys.NkeysError as exc:
        raise ConfigError(f"the secret {bus_seed(user)!r} is no nkey seed") from exc
    except (nats.errors.Error, OSError, TimeoutError) as exc:
        raise Unavailable(
            f"the broker at {config.bus.url} cannot be reached ({watch.last_error})",
            fix="start it with `clawdbot up`, or set bus.url",
        ) from exc
    metrics.bus_connected.set(1)
    try:
        yield client
    finally:
        watch.is_closing = True
        await _close(client)


async def _connect(user: str, url: str, seed: str, watch: _Watch) -> Client:
    return await nats.connect(
        url,
        name=f"clawdbot-{user}",
        nkeys_seed_str=seed,
        inbox_prefix=inbox(user),
        connect_timeout=5,
        max_reconnect_attempts=-1,
        # A different pace for each process, so that a restarted broker is not stormed.
        reconnect_time_wait=random.uniform(0.2, 0.6),  # noqa: S311 -- nats-py sleeps it as given
        ping_interval=PING_INTERVAL_S,
        max_outstanding_pings=2,
        disconnected_cb=watch.on_disconnected,
        reconnected_cb=watch.on_reconnected,
        closed_cb=watch.on_closed,
        error_cb=watch.on_error,
    )


async def _close(client: Client) -> None:
    # Not drain(): in nats-py 2.16 it hangs until its time-out while a subscription without
    # callback holds a message. Whoever subscribed has unsubscribed by now; flush, then close.
    try:
        await client.flush(timeout=2)
    except (nats.errors.Error, TimeoutError, OSError) as exc:
        log.warning("closing without a flush", extra={"error": type(exc).__name__})
    try:
        await client.close()
    except RuntimeError as exc:
        # nats-py writes what is pending to a transport that is gone already, and uvloop says so.
        log.warning("closed while disconnected", extra={"error": str(exc)})
