"""The gateway, from first to last: keys, platforms, handlers, server, deliveries."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from secrets import token_hex
from typing import NamedTuple, TypeVar

from clawdbot.gateway.adapters.api_tokens import open_tokens
from clawdbot.gateway.adapters.blob_links import BlobLinks
from clawdbot.gateway.adapters.body import BodyLimits, Gate
from clawdbot.gateway.adapters.bus_controls import (
    DECISION_TTL_S,
    BusDecisions,
    BusStopSignals,
)
from clawdbot.gateway.adapters.bus_inbox import BusInbox
from clawdbot.gateway.adapters.bus_inference import BusInference
from clawdbot.gateway.adapters.bus_memory import BusConversations
from clawdbot.gateway.adapters.bus_replies import BusReplies
from clawdbot.gateway.adapters.callback import HTTPCallback
from clawdbot.gateway.adapters.connectors import connect_accounts
from clawdbot.gateway.adapters.endpoint_blob import BlobEndpoint
from clawdbot.gateway.adapters.endpoint_chat import ChatEndpoint
from clawdbot.gateway.adapters.endpoint_conversations import ConversationsEndpoint
from clawdbot.gateway.adapters.endpoint_platform import PlatformEndpoint
from clawdbot.gateway.adapters.endpoint_status import StatusEndpoint
from clawdbot.gateway.adapters.endpoint_webhook import WebhookEndpoint
from clawdbot.gateway.adapters.guarded_http import GuardedHTTP
from clawdbot.gateway.adapters.http_app import Endpoints, build_app
from clawdbot.gateway.adapters.jwt_auth import Tokens
from clawdbot.gateway.adapters.measured_fetch import MeasuredFetch
from clawdbot.gateway.adapters.model_watch import ModelWatch
from clawdbot.gateway.adapters.openai_entrance import Entrance
from clawdbot.gateway.adapters.openai_routes import OpenAIEndpoints
from clawdbot.gateway.adapters.platforms.addresses import SealedAddresses
from clawdbot.gateway.adapters.platforms.connections import Connection, PlatformSender, connect
from clawdbot.gateway.adapters.platforms.delivery_records import BucketDeliveryRecords
from clawdbot.gateway.adapters.platforms.files import PlatformFiles
from clawdbot.gateway.adapters.platforms.intake import Intake
from clawdbot.gateway.adapters.platforms.registry import configured, load
from clawdbot.gateway.adapters.presented import Presented
from clawdbot.gateway.adapters.rate_exchange import RateExchange
from clawdbot.gateway.adapters.rate_settings import keeping_of, rates_of, waiting_of
from clawdbot.gateway.adapters.records import Links
from clawdbot.gateway.adapters.sender_policies import sender_policies
from clawdbot.gateway.adapters.signature import WebhookKey
from clawdbot.gateway.adapters.socket_asgi import SocketEndpoint
from clawdbot.gateway.adapters.socket_opening import (
    listen_apart,
    open_door,
    tend,
    with_sockets,
)
from clawdbot.gateway.adapters.webhook import Ages
from clawdbot.gateway.domain.files import presented
from clawdbot.gateway.domain.idempotency import ClaimedKey
from clawdbot.gateway.domain.messages import WEBHOOK
from clawdbot.gateway.domain.rates import Rates
from clawdbot.gateway.domain.senders import Applicants
from clawdbot.gateway.handlers.callers import Callers
from clawdbot.gateway.handlers.controls import Controls
from clawdbot.gateway.handlers.conversations import OwnConversations
from clawdbot.gateway.handlers.doorkeeper import Doorkeeper
from clawdbot.gateway.handlers.drafts import DraftPace, Line, Quiet
from clawdbot.gateway.handlers.files import FetchFile, FetchLimits
from clawdbot.gateway.handlers.live_replies import LiveReplies
from clawdbot.gateway.handlers.messages import Accept, Converse, Deliver, Inspect, Patience
from clawdbot.gateway.handlers.platforms import DeliverParts, Receive
from clawdbot.gateway.handlers.rates import RateScreen, UncrowdedInbox
from clawdbot.gateway.handlers.reply_progress import ReplyRecords
from clawdbot.gateway.handlers.request_keys import RequestKeys
from clawdbot.gateway.handlers.sender_desk import SenderDesk
from clawdbot.gateway.handlers.senders import Admission
from clawdbot.gateway.handlers.waiting import WaitingList
from clawdbot.gateway.settings import Settings
from clawdbot.runtime import secrets
from clawdbot.runtime.blobs import Blobs
from clawdbot.runtime.config import Config, ConfigError
from clawdbot.runtime.config_sections import Socket
from clawdbot.runtime.egress import EgressGuard
from clawdbot.runtime.http_server import HTTPServer, ServerSettings
from clawdbot.runtime.records import Records
from clawdbot.runtime.secrets import Secrets
from clawdbot.runtime.service import Runtime, main
from clawdbot.runtime.tls import Certificate
from clawdbot.schema import senders as rpc
from clawdbot.schema.attachments import FETCH_ATTACHMENT
from clawdbot.schema.ids import Channel, IdKey
from clawdbot.schema.messages import OutboundMessage
from clawdbot.schema.principal import PrincipalSigner
from clawdbot.schema.streams import IDEMPOTENCY, OUTBOUND, PAIRING, SENDERS, delivery

K = TypeVar("K")

FETCHES = 16
"""Files that are fetched at a time; each holds a connection and half a megabyte."""
DOWNLOADS, DOWNLOAD_S = 32, 300.0
"""Files that are downloaded at a time, and how long each may take."""


class Chats(NamedTuple):
    """Accounts of chat platforms, and what shows that their answers are being written."""

    connections: list[Connection]
    live: LiveReplies | None


class Guards(NamedTuple):
    """What decides whether somebody is heard, whichever way they come in."""

    rates: Rates
    admission: Admission
    tokens: Tokens
    keeper: Doorkeeper
    request_keys: RequestKeys


async def run(config: Config) -> None:
    """Serve until stopped."""
    settings = Settings.of(config)
    async with Runtime.open("gateway", config) as runtime:
        webhook_key = _webhook_key(runtime.secrets, settings)
        chats = await _chats(runtime, settings)
        if webhook_key is not None and settings.callback_url is not None:
            await _deliver(runtime, settings, settings.callback_url, webhook_key)
        watch = ModelWatch(runtime.bus, settings.chat_model)
        runtime.health.warn_when("model", watch.missing)
        runtime.spawn(watch.run(), name="model-watch")
        rates = rates_of(settings.rates)
        tokens = await open_tokens(runtime, settings.jwt)
        admission = await _admission(runtime, settings, chats.connections)
        keys = await _request_keys(runtime)
        guards = Guards(rates, admission, tokens, _doorkeeper(runtime, rates), keys)
        accept = _accept(runtime, settings, guards)
        intakes = _intakes(runtime.secrets, accept, chats)
        endpoints = _endpoints(runtime, settings, accept, guards, intakes)
        fetch = MeasuredFetch(_fetch_file(runtime, settings, chats.connections))
        await runtime.respond(FETCH_ATTACHMENT, fetch, concurrency=FETCHES)
        app = build_app(endpoints, runtime.health.asgi, guards.keeper)
        listening = with_sockets(_server(settings, _tls(runtime, settings)), settings.limits)
        server = await runtime.enter(HTTPServer.open(app, listening))
        runtime.spawn(server.tick(), name="http-tick")
        await _serve_sockets(runtime, settings.socket, listening, endpoints.socket)
        await connect_accounts(runtime, intakes)
        await runtime.until_stopped()


async def _serve_sockets(
    runtime: Runtime, wanted: Socket, listening: ServerSettings, endpoint: SocketEndpoint | None
) -> None:
    if endpoint is None:
        return
    if wanted.enabled:
        await listen_apart(runtime, endpoint.door, replace(listening, port=wanted.port))
    await tend(runtime, endpoint.door)


def _doorkeeper(runtime: Runtime, rates: Rates) -> Doorkeeper:
    """Share what is counted with the other replicas, and refuse strangers while that fails."""
    exchange = RateExchange(runtime.bus, rates)
    runtime.spawn(exchange.run(), name="rate-exchange")
    runtime.health.warn_when("rates", exchange.reason)
    return Doorkeeper(rates, _key(runtime.secrets, secrets.ID_KEY, IdKey), exchange.is_working)


async def _chats(runtime: Runtime, settings: Settings) -> Chats:
    """Speak for each configured account by its adapter, and deliver its replies."""
    known = load(settings.platforms.chat)
    accounts = configured(settings.platforms, known, runtime.secrets, settings.public_url)
    connections = [
        await runtime.enter(connect(account, known[account.platform])) for account in accounts
    ]
    link = _blob_links(runtime.secrets, settings)
    return Chats(connections, await _deliver_to(runtime, connections, link))


async def _deliver_to(
    runtime: Runtime, connections: list[Connection], link: BlobLinks
) -> LiveReplies | None:
    """Send replies to the accounts that take them, and show there that they are written."""
    speaking = [each for each in connections if each.adapter.capabilities.replies]
    if not speaking:
        return None
    records = await BucketDeliveryRecords.open(runtime.bus)
    owner = f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}"
    addresses = _key(runtime.secrets, secrets.REPLY, SealedAddresses)
    lines: dict[Channel, Line] = {}
    for connection in speaking:
        sender, limit = PlatformSender(connection, addresses), connection.adapter.limits.text
        line = _line(connection, sender)
        progress = ReplyRecords(records, owner, has_drafts=line.edits)
        takes_files = connection.adapter.capabilities.files
        shown = partial(presented, link=link, takes_files=takes_files)
        handler = Presented(DeliverParts(sender, limit, progress), shown)
        channel = connection.account.channel
        await runtime.consume(OUTBOUND, delivery(channel), OutboundMessage, handler, concurrency=16)
        lines[channel] = line
    live = LiveReplies(BusReplies(runtime.bus, link), records, lines, owner)
    return await runtime.enter(aclosing(live))


def _line(connection: Connection, sender: PlatformSender) -> Line:
    can, is_live = connection.adapter.capabilities, connection.account.settings.live_replies
    return Line(
        sender,
        connection.adapter.limits.text,
        edits=is_live and can.edits,
        typing_s=can.typing_s if is_live and can.typing else None,
        pace=DraftPace(edit_s=can.edit_every_s),
        quiet=Quiet(),
    )


async def _admission(
    runtime: Runtime, settings: Settings, connections: list[Connection]
) -> Admission:
    """Return who looks at senders, once the operator can ask about them."""
    policies = sender_policies(
        [connection.account for connection in connections],
        webhook_tenant=settings.webhook_tenant,
        webhook_may_link=settings.webhook_may_link,
        api_may_link=settings.api_may_link,
    )
    known = await Records.open(runtime.bus, SENDERS, rpc.Sender)
    waiting = WaitingList(await Records.open(runtime.bus, PAIRING, Applicants))
    desk = SenderDesk(policies, _key(runtime.secrets, secrets.ID_KEY, IdKey), known, waiting)
    await runtime.respond(rpc.SENDERS, desk.list)
    await runtime.respond(rpc.APPROVE, desk.approve)
    await runtime.respond(rpc.REMOVE, desk.remove)
    await runtime.respond(rpc.LINK, desk.link)
    await runtime.respond(rpc.UNLINK, desk.unlink)
    return Admission(policies, known, waiting)


def _fetch_file(runtime: Runtime, settings: Settings, connections: list[Connection]) -> FetchFile:
    inbox = BusInbox(runtime.bus, _signer(runtime, settings))
    http = GuardedHTTP(EgressGuard(settings.egress_allowed_hosts))
    addresses = _key(runtime.secrets, secrets.REPLY, SealedAddresses)
    files = PlatformFiles(http, connections, addresses)
    limits = FetchLimits(settings.max_attachment_bytes, settings.attachment_timeout_s)
    return FetchFile(inbox, files, _blobs(runtime, settings), limits)


def _blobs(runtime: Runtime, settings: Settings) -> Blobs:
    return Blobs(runtime.bus, max_bytes=settings.max_attachment_bytes)


def _blob_links(found: Secrets, settings: Settings) -> BlobLinks:
    make = partial(BlobLinks, public_url=settings.public_url, ttl_s=settings.blob_url_ttl_s)
    return _key(found, secrets.REPLY, make)


def _signer(runtime: Runtime, settings: Settings) -> PrincipalSigner:
    signing = partial(PrincipalSigner, ttl_s=settings.principal_ttl_s)
    return _key(runtime.secrets, secrets.PRINCIPAL_PRIVATE, signing)


async def _request_keys(runtime: Runtime) -> RequestKeys:
    claims = await Records.open(runtime.bus, IDEMPOTENCY, ClaimedKey)
    return RequestKeys(claims, _key(runtime.secrets, secrets.ID_KEY, IdKey))


def _patience(settings: Settings) -> Patience:
    return Patience(
        publish_s=settings.publish_timeout_s,
        turn_s=settings.turn_deadline_s,
        chat_s=settings.chat_timeout_s,
    )


def _deciding(runtime: Runtime) -> PrincipalSigner:
    signing = partial(PrincipalSigner, ttl_s=DECISION_TTL_S)
    return _key(runtime.secrets, secrets.PRINCIPAL_PRIVATE, signing)


def _accept(runtime: Runtime, settings: Settings, guards: Guards) -> Accept:
    """Return what every way in passes."""
    inbox = BusInbox(runtime.bus, _signer(runtime, settings))
    decisions = BusDecisions(runtime.bus, _deciding(runtime))
    controls = Controls(inbox, decisions, BusStopSignals(runtime.bus))
    return Accept(
        UncrowdedInbox(inbox, keeping_of(settings.rates)),
        _key(runtime.secrets, secrets.ID_KEY, IdKey),
        _patience(settings),
        screens=(RateScreen(guards.rates), guards.admission, guards.request_keys, controls),
    )


def _intakes(found: Secrets, accept: Accept, chats: Chats) -> list[Intake]:
    if not chats.connections:
        return []
    receive = Receive(accept, _key(found, secrets.REPLY, SealedAddresses), chats.live)
    return [Intake(connection, receive) for connection in chats.connections]


def _endpoints(
    runtime: Runtime,
    settings: Settings,
    accept: Accept,
    guards: Guards,
    intakes: list[Intake],
) -> Endpoints:
    patience = _patience(settings)
    blob_links = _blob_links(runtime.secrets, settings)
    inbox = BusInbox(runtime.bus, _signer(runtime, settings))
    replies = BusReplies(runtime.bus, blob_links)
    webhook_key = _webhook_key(runtime.secrets, settings)
    limits, tokens = BodyLimits(settings.max_body_bytes, settings.body_timeout_s), guards.tokens
    links = Links(settings.public_url, settings.messages_path)
    tenant, places = settings.webhook_tenant, settings.max_inflight
    converse = Converse(accept, replies, patience, waiting_of(settings.rates))
    gate = Gate(places)
    chat = ChatEndpoint(converse, tokens, limits, gate, links)
    status = StatusEndpoint(Inspect(inbox, replies, patience), tokens, webhook_key, tenant)
    webhook = None
    if webhook_key is not None:
        webhook = WebhookEndpoint(
            accept,
            webhook_key,
            tenant,
            limits,
            Gate(places),
            links,
            Ages(settings.webhook_max_age_s),
        )
    platforms = _platforms(settings, intakes)
    # The same gate: both are people and programs that wait for an answer.
    ids = _key(runtime.secrets, secrets.ID_KEY, IdKey)
    callers = Callers(guards.rates, waiting_of(settings.rates), ids)
    entrance = Entrance(tokens, limits, gate, callers)
    openai = OpenAIEndpoints.over(BusInference(runtime.bus), converse, patience, entrance)
    socket = SocketEndpoint(
        open_door(runtime, settings.limits, accept, tokens, guards.keeper, blob_links)
    )
    blobs = BlobEndpoint(_blobs(runtime, settings), blob_links, Gate(DOWNLOADS), DOWNLOAD_S)
    memory = BusConversations(runtime.bus, _deciding(runtime))
    own = OwnConversations(memory, accept.envelope, guards.admission, accept.conversation)
    return Endpoints(
        chat,
        status,
        webhook,
        settings.messages_path,
        platforms,
        openai=openai,
        conversations=ConversationsEndpoint(own, tokens, gate, callers),
        socket=socket,
        blobs=blobs,
    )


def _platforms(settings: Settings, intakes: list[Intake]) -> dict[str, PlatformEndpoint]:
    """Serve the webhooks of the accounts that have one."""
    limits = BodyLimits(settings.max_body_bytes, settings.body_timeout_s)
    return {
        path: endpoint
        for intake in intakes
        if not intake.connection.account.connects
        for endpoint in (PlatformEndpoint(intake, settings.public_url, limits),)
        for path in intake.connection.paths
    }


def _tls(runtime: Runtime, settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_files is None:
        return None
    certificate = Certificate(*settings.tls_files)
    runtime.spawn(certificate.follow(), name="certificate")
    return certificate.context


def _server(settings: Settings, tls: ssl.SSLContext | None) -> ServerSettings:
    return ServerSettings(
        host=settings.host,
        port=settings.port,
        # Webhooks and chats at their limits, and as many idle connections again.
        max_connections=4 * settings.max_inflight,
        grace_s=settings.request_grace_s,
        is_shared=settings.workers > 1,
        tls=tls,
        trusted_proxies=settings.trusted_proxies,
    )


async def _deliver(runtime: Runtime, settings: Settings, url: str, key: WebhookKey) -> None:
    timeout_s = settings.callback_timeout_s
    callback = await runtime.enter(HTTPCallback.open(url, key, timeout_s=timeout_s))
    link = _blob_links(runtime.secrets, settings)
    handler = Presented(Deliver(callback), partial(presented, link=link, takes_files=True))
    await runtime.consume(OUTBOUND, delivery(WEBHOOK), OutboundMessage, handler, concurrency=16)


def _webhook_key(found: Secrets, settings: Settings) -> WebhookKey | None:
    return _key(found, secrets.WEBHOOK, WebhookKey) if settings.webhook_is_enabled else None


def _key(found: Secrets, name: str, kind: Callable[[bytes], K]) -> K:
    try:
        return kind(found.read(name))
    except ValueError as exc:
        raise ConfigError(f"the secret {name!r} cannot be used: {exc}") from exc


def cli() -> None:
    """Run the gateway as a process."""
    main("gateway", run)


if __name__ == "__main__":
    cli()
