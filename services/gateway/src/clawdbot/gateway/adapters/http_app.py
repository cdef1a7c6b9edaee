"""The HTTP application: which path is served by what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fastapi import FastAPI
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from clawdbot.gateway.adapters.blob_links import PATH as BLOBS_PATH
from clawdbot.gateway.adapters.doorway import Doorway
from clawdbot.gateway.adapters.edge import METHODS, SOCKET_PATH, Edge, HealthApp
from clawdbot.gateway.adapters.endpoint_blob import BlobEndpoint
from clawdbot.gateway.adapters.endpoint_chat import ChatEndpoint
from clawdbot.gateway.adapters.endpoint_conversations import (
    LIST,
    MESSAGES,
    ONE,
    ConversationsEndpoint,
    conversations_template,
)
from clawdbot.gateway.adapters.endpoint_platform import PlatformEndpoint
from clawdbot.gateway.adapters.endpoint_status import StatusEndpoint
from clawdbot.gateway.adapters.endpoint_webhook import WebhookEndpoint
from clawdbot.gateway.adapters.openai_routes import OpenAIEndpoints, openai_template
from clawdbot.gateway.adapters.openapi import PATH as OPENAPI_PATH
from clawdbot.gateway.adapters.openapi import load_document
from clawdbot.gateway.adapters.pages import load_pages
from clawdbot.gateway.adapters.problems import install_problem_handlers, on_bug
from clawdbot.gateway.adapters.socket_asgi import SocketEndpoint
from clawdbot.gateway.handlers.doorkeeper import Doorkeeper

CHAT_PATH = "/api/chat"
BLOB_ROUTE = f"{BLOBS_PATH}/{{sha256}}"
UNMATCHED = "unmatched"


@dataclass(frozen=True)
class Endpoints:
    """What the gateway serves."""

    chat: ChatEndpoint
    status: StatusEndpoint
    webhook: WebhookEndpoint | None
    """None when `platforms.webhook` is switched off."""
    messages_path: str
    platforms: Mapping[str, PlatformEndpoint] = field(default_factory=dict)
    """By path."""
    openai: OpenAIEndpoints = field(kw_only=True)
    conversations: ConversationsEndpoint = field(kw_only=True)
    socket: SocketEndpoint | None = None
    """Serves WebSockets."""
    blobs: BlobEndpoint | None = None
    """None where nothing lies in the object store."""


def build_app(endpoints: Endpoints, health: HealthApp, keeper: Doorkeeper | None = None) -> ASGIApp:
    """Return the application, health included; without `keeper` no address is limited."""
    app = build_routes(endpoints)
    paths = {route.path for route in app.routes if isinstance(route, Route)}
    fixed = {path for path in paths if "{" not in path} | set(endpoints.platforms)
    fixed |= {endpoints.messages_path, SOCKET_PATH}
    shortcuts = _shortcuts(endpoints)
    inside: ASGIApp = app
    if keeper is not None:
        inside = Doorway(app, keeper)
        shortcuts = {where: Doorway(short, keeper) for where, short in shortcuts.items()}
    template_of = _template(fixed, endpoints.messages_path)
    return Edge(inside, health, template_of, shortcuts, endpoints.socket)


def build_routes(endpoints: Endpoints) -> FastAPI:
    """Return what is served over HTTP, but health."""
    # FastAPI's own telemetry switches itself on with a tracer provider and costs a third.
    app = FastAPI(
        openapi_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False},
    )
    install_problem_handlers(app)
    pages = load_pages() | {OPENAPI_PATH: load_document(endpoints.messages_path)}
    # Plain routes: the hot path needs neither dependency injection nor a response model.
    if endpoints.webhook is not None:
        app.add_route(endpoints.messages_path, endpoints.webhook.respond, methods=["POST"])
    app.add_route(
        f"{endpoints.messages_path}/{{message_id}}", endpoints.status.respond, methods=["GET"]
    )
    app.add_route(CHAT_PATH, endpoints.chat.respond, methods=["POST"])
    app.add_route(LIST, endpoints.conversations.list, methods=["GET"])
    app.add_route(MESSAGES, endpoints.conversations.read, methods=["GET"])
    app.add_route(ONE, endpoints.conversations.forget, methods=["DELETE"])
    endpoints.openai.add_to(app)
    for path, platform in endpoints.platforms.items():
        # Which methods it takes is the platform's to say.
        app.add_route(path, platform.respond, methods=sorted(METHODS))
    if endpoints.blobs is not None:
        app.add_route(BLOB_ROUTE, endpoints.blobs.respond, methods=["GET"])
    for path, page in pages.items():
        app.add_route(path, page.respond, methods=["GET"])
    return app


def _shortcuts(endpoints: Endpoints) -> dict[tuple[str, str], ASGIApp]:
    """Return what is asked so often that it goes past the router, which tries route by route."""
    webhook = endpoints.webhook
    if webhook is None:
        return {}

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        response = await webhook.respond(Request(scope, receive))
        await response(scope, receive, send)

    return {("POST", endpoints.messages_path): ServerErrorMiddleware(serve, handler=on_bug)}


def _template(fixed: set[str], messages_path: str) -> Callable[[str], str]:
    """Return what names the route of a path; never the path itself, which anybody can choose."""
    ends_in_id = {path.rpartition("/")[0]: path for path in fixed if path.endswith("}")}

    def template_of(path: str) -> str:
        if path in fixed:
            return path
        if (known := ends_in_id.get(path.rpartition("/")[0])) is not None:
            return known
        if (known := openai_template(path) or conversations_template(path)) is not None:
            return known
        if path.startswith(f"{BLOBS_PATH}/") and path.count("/") == 2:
            return BLOB_ROUTE
        below = path.removeprefix(f"{messages_path}/")
        is_message = below != path and "/" not in below
        return f"{messages_path}/{{message_id}}" if is_message else UNMATCHED

    return template_of
