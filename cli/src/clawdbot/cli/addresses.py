"""Where the stack listens: which ports, whether they are free, and how services are told."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from clawdbot.cli.failures import MISUSED, Failure
from clawdbot.runtime.config import Config

WORKER_PORTS = 100
"""Between the health ports of two gateway processes: out of the way of the other services'."""
SERVICES = ("gateway", "assistant", "inference", "memory", "executor")
_LOOPBACK = {"127.0.0.1", "localhost"}
_PASSED_ON = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "DOCKER_HOST",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)


def broker_port(config: Config) -> int:
    """Return the port of `bus.url`.

    Raises:
        Failure: it names another host, so that a broker of ours could not be meant.
    """
    url = urlsplit(config.bus.url)
    if url.scheme != "nats" or url.hostname not in _LOOPBACK:
        raise Failure(
            f"bus.url is {config.bus.url!r}, but `clawdbot up` runs a broker of its own",
            fix="set bus.url to nats://127.0.0.1:4222, or start the services one by one",
            status=MISUSED,
        )
    return url.port or 4222


def with_ports(config: Config) -> Config:
    """Return `config` with a free port wherever it says 0, which means any."""
    port = config.app.port or _free_port(config.app.host)
    chosen = config.ops.health_ports.model_dump()
    free = {name: port or _free_port(config.ops.health_host) for name, port in chosen.items()}
    health_ports = config.ops.health_ports.model_copy(update=free)
    return config.model_copy(
        update={
            "app": config.app.model_copy(update={"port": port}),
            "ops": config.ops.model_copy(update={"health_ports": health_ports}),
        }
    )


def require_free_ports(config: Config) -> None:
    """Pass when everything can listen where it should.

    Raises:
        Failure: a port is taken; names it and its setting.
    """
    _require_free("127.0.0.1", broker_port(config), "bus.url")
    _require_free(config.app.host, config.app.port, "app.port")
    if config.platforms.socket.enabled:
        _require_free(config.app.host, config.platforms.socket.port, "platforms.socket.port")
    ports = config.ops.health_ports.model_dump() | gateway_workers(config)
    for name, port in ports.items():
        _require_free(config.ops.health_host, port, f"ops.health_ports.{name}")


def gateway_url(config: Config) -> str:
    """Return where this machine reaches the gateway."""
    scheme = "http" if config.app.tls_certificate is None else "https"
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(config.app.host, config.app.host)  # noqa: S104 -- compared, not bound
    return f"{scheme}://{host}:{config.app.port}"


def ready_urls(config: Config) -> dict[str, str]:
    """Return where each service says whether it is ready."""
    ports = config.ops.health_ports.model_dump()
    urls = {name: f"http://{config.ops.health_host}:{ports[name]}/readyz" for name in SERVICES}
    if config.gateway.workers == 1 and config.app.tls_certificate is None:
        # Only its own door shows that the gateway serves.
        return urls | {"gateway": f"{gateway_url(config)}/readyz"}
    further = {
        name: f"http://{config.ops.health_host}:{port}/readyz"
        for name, port in gateway_workers(config).items()
    }
    return urls | further


def gateway_workers(config: Config) -> dict[str, int]:
    """Return the health port of each gateway process, by its name."""
    first = config.ops.health_ports.gateway
    names = ("gateway", *(f"gateway-{number}" for number in range(2, config.gateway.workers + 1)))
    return {name: first + WORKER_PORTS * number for number, name in enumerate(names)}


def service_environment(
    config: Config, config_path: Path, environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return all that a service inherits: the basics, our own variables, and the ports chosen."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in _PASSED_ON or name.startswith("CLAWDBOT_")
    }
    # The services' output is a pipe, but it ends in our terminal.
    log_format = "text" if config.ops.log_format == "auto" else config.ops.log_format
    return kept | {
        "CLAWDBOT_CONFIG": str(config_path.resolve()),
        "CLAWDBOT_APP__PORT": str(config.app.port),
        "CLAWDBOT_OPS__HEALTH_PORTS": config.ops.health_ports.model_dump_json(),
        "CLAWDBOT_OPS__LOG_FORMAT": log_format,
        "PYTHONUNBUFFERED": "1",
    }


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _require_free(host: str, port: int, setting: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as exc:
        raise Failure(
            f"cannot listen on {host}:{port} ({setting}): {os.strerror(exc.errno or 0)}",
            fix=f"stop what uses the port, or set another one in {setting}",
        ) from exc
