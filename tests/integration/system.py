"""The real thing: a nats-server, the five services as processes, the built models, loopback."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import httpx
import yaml
from anyio.from_thread import BlockingPortal
from nats.js.errors import KeyNotFoundError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from clawdbot.cli.secrets_setup import ensure_secrets
from clawdbot.cli.tokens import DEFAULT_SCOPES, Signer
from clawdbot.runtime.broker import BrokerCredentials, BrokerProcess, BrokerSettings
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.config import Config, load_config
from clawdbot.runtime.connection import connected
from clawdbot.runtime.deadletters import DeadLetterDesk
from clawdbot.runtime.provision import provision
from clawdbot.runtime.secrets import Secrets, bus_seed
from clawdbot.runtime.testing import free_port
from clawdbot.schema.messages import DeadLetter
from clawdbot.schema.permissions import OPERATOR, SERVICES, USERS

ROOT = Path(__file__).parents[2]
START_S = 60
"""Loading two models on two busy cores."""
ANSWER_S = 60


def until(condition: Callable[[], Any], within_s: float, what: str) -> Any:
    """Return the first true value of `condition`; fail after `within_s` seconds."""
    give_up_at = time.monotonic() + within_s
    while time.monotonic() < give_up_at:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {within_s} s")


class Service:
    """One service process."""

    def __init__(self, name: str, directory: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.log = directory / f"{name}-{time.monotonic_ns()}.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"clawdbot.{name}.main"],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def records(self) -> list[dict[str, Any]]:
        lines = self.log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def says(self, message: str) -> bool:
        return any(record["message"] == message for record in self.records)

    def wait_ready(self) -> None:
        def is_ready() -> bool:
            assert self.process.poll() is None, f"{self.name} died:\n{self.log.read_text()}"
            return self.says("ready")

        until(is_ready, START_S, f"{self.name} becoming ready")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def terminate(self, within_s: float = 30) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_s)


class System:
    """Everything, on free ports, in a folder of its own."""

    def __init__(self, directory: Path, portal: BlockingPortal, **sections: Any) -> None:
        self.directory = directory
        self.portal = portal
        ports = {name: free_port() for name in SERVICES}
        bus = {
            "url": f"nats://127.0.0.1:{free_port()}",
            "lease_ttl_s": 2.0,
            "ack_wait_s": 2.0,
        }
        document: dict[str, Any] = {
            "app": {"port": free_port()},
            "models": {"directory": str(models_directory())},
            "assistant": {"max_tokens": 48},
            "bus": bus,
            "ops": {"health_ports": ports, "log_format": "json", "grace_s": 20},
        }
        for section, values in sections.items():
            document[section] = {**document.get(section, {}), **values}
        (directory / "config.yaml").write_text(yaml.safe_dump(document))
        self.config: Config = load_config(directory / "config.yaml")
        self.secrets = Secrets(directory / ".clawdbot" / "secrets")
        ensure_secrets(self.secrets.directory)
        self.services: list[Service] = []
        self.url = f"http://127.0.0.1:{self.config.app.port}"
        self.http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def broker(self) -> BrokerProcess:
        seeds = {user: self.secrets.read(bus_seed(user)) for user in USERS}
        credentials = BrokerCredentials.from_seeds(seeds, self.secrets.text("jetstream_key"))
        port = int(self.config.bus.url.rpartition(":")[2])
        settings = BrokerSettings(self.directory / "nats", port, self.config.bus.durability)
        return BrokerProcess(settings, credentials)

    @contextmanager
    def running(self, *names: str) -> Iterator[System]:
        """Run the broker and the named services (all by default) until the end of the context."""
        with self.portal.wrap_async_context_manager(self.broker()) as self.broker_process:
            config = self.config.model_copy(
                update={"app": self.config.app.model_copy(update={"data_dir": self.directory})}
            )
            self.portal.call(provision, config, self.secrets)
            try:
                for service in [self.start(name) for name in names or SERVICES]:
                    service.wait_ready()
                yield self
            finally:
                self.http.close()
                self._end()

    def start(self, name: str, **environment: str) -> Service:
        base = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        config = {"CLAWDBOT_CONFIG": str(self.directory / "config.yaml"), **environment}
        if any(service.name == name for service in self.services):
            config[f"CLAWDBOT_OPS__HEALTH_PORTS__{name.upper()}"] = "0"
        service = Service(name, self.directory, base | config)
        self.services.append(service)
        return service

    def add(self, name: str) -> Service:
        """Start one more replica and wait until it is ready."""
        service = self.start(name)
        service.wait_ready()
        return service

    def find(self, name: str) -> Service:
        return next(
            service
            for service in self.services
            if service.name == name and service.process.poll() is None
        )

    def _end(self) -> None:
        for service in self.services:
            if service.process.poll() is None:
                service.process.send_signal(signal.SIGTERM)
        for service in self.services:
            try:
                service.process.wait(30)
            except subprocess.TimeoutExpired as exc:
                service.kill()
                written = service.log.read_text()
                raise AssertionError(f"{service.name} did not stop:\n{written}") from exc

    def sign(self, data: bytes) -> str:
        key = self.secrets.read("webhook_secret")
        return hmac.new(key, data, hashlib.sha256).hexdigest()

    def post(
        self,
        content: str,
        sender: str = "user123",
        *,
        via: httpx.Client | None = None,
        **fields: Any,
    ) -> httpx.Response:
        """Send a signed message; `message_id` makes it distinct unless one is given."""
        record = {
            "sender_id": sender,
            "content": content,
            "timestamp": 1672531200,
            "message_id": f"m{time.monotonic_ns()}",
            **fields,
        }
        return self.post_raw(json.dumps(record).encode(), via)

    def post_raw(self, body: bytes, via: httpx.Client | None = None) -> httpx.Response:
        headers = {"X-Signature": self.sign(body), "Content-Type": "application/json"}
        return (via or self.http).post("/api/messages", content=body, headers=headers)

    def status(self, accepted: dict[str, Any]) -> dict[str, Any]:
        path = accepted["status_url"]
        path = path[path.index("/api/") :]
        answer = self.http.get(path, headers={"X-Signature": self.sign(path.encode())})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def reply(self, accepted: dict[str, Any], within_s: float = ANSWER_S) -> dict[str, Any]:
        """Return the reply to an accepted message, once there is one."""

        def settled() -> dict[str, Any] | None:
            found = self.status(accepted)
            return found if found["state"] != "queued" else None

        found: dict[str, Any] = until(settled, within_s, "the reply")
        return found["reply"]

    def ask(self, content: str, sender: str = "user123", **fields: Any) -> dict[str, Any]:
        """Send a message and return its reply."""
        accepted = self.post(content, sender, **fields)
        assert accepted.status_code == 202, accepted.text
        return self.reply(accepted.json())

    def token(self, user: str = "owner", *scopes: str) -> str:
        signer = Signer.of(self.config, self.secrets)
        return signer.issue(user=user, scopes=scopes or DEFAULT_SCOPES).text

    def count(self, stream: str, subject: str = ">") -> int:
        """Return how many messages `stream` keeps on `subject`."""

        async def counted() -> int:
            async with connected(OPERATOR, self.config, self.secrets) as client:
                info = await client.jetstream().stream_info(stream, subjects_filter=subject)
                return sum((info.state.subjects or {}).values())

        return self.portal.call(counted)

    def sequence(self, stream: str, subject: str) -> int:
        """Return the position of the last message on `subject`."""

        async def found() -> int:
            async with connected(OPERATOR, self.config, self.secrets) as client:
                raw = await client.jetstream().get_msg(stream, subject=subject)
                return raw.seq or 0

        return self.portal.call(found)

    def holder(self, conversation_id: str) -> int | None:
        """Return the process that works on a conversation right now, if any does."""

        async def found() -> int | None:
            async with connected(OPERATOR, self.config, self.secrets) as client:
                bucket = await client.jetstream().key_value("leases_inbound")
                try:
                    entry = await bucket.get(f"default.{conversation_id}")
                except KeyNotFoundError:
                    return None
                return int((entry.value or b"").rpartition(b":")[2])

        return self.portal.call(found)

    def dead_letters(self) -> list[DeadLetter]:
        async def listed() -> list[DeadLetter]:
            async with connected(OPERATOR, self.config, self.secrets) as client:
                return [letter for _, letter in await DeadLetterDesk(Bus(client, OPERATOR)).list()]

        return self.portal.call(listed)


class Loopback:
    """An HTTP server of the test's own, on a free port.

    Args:
        answer: takes path, headers (lower case) and body of a POST or GET; gives status and JSON,
            or bytes as they are.
    """

    def __init__(self, answer: Callable[[str, dict[str, str], bytes], tuple[int, Any]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", "0")))
                status, value = answer(self.path, headers, body)
                is_file = isinstance(value, bytes)
                content = value if is_file else json.dumps(value).encode()
                self.send_response(status)
                media_type = "application/octet-stream" if is_file else "application/json"
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Collector(Loopback):
    """An OTLP/HTTP endpoint that keeps every span it is sent."""

    def __init__(self) -> None:
        super().__init__(self._keep)
        self.spans: list[tuple[str, Span]] = []

    def _keep(self, _: str, __: dict[str, str], body: bytes) -> tuple[int, Any]:
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {item.key: item.value.string_value for item in group.resource.attributes}
            for scope in group.scope_spans:
                self.spans.extend((names["service.name"], span) for span in scope.spans)
        return 200, {}

    def trace(self, trace_id: str) -> list[tuple[str, Span]]:
        return [(who, span) for who, span in self.spans if span.trace_id.hex() == trace_id]


def models_directory() -> Path:
    return Path(os.environ.get("CLAWDBOT_MODELS_DIR", ROOT / "models"))


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the server-sent events in `text` as (event, data)."""
    found = []
    for block in re.split(r"\n\n", text):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in fields:
            found.append((fields.get("event", "message"), json.loads(fields["data"])))
    return found
