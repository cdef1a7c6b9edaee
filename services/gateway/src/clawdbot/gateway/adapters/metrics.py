"""What the gateway measures; labels never name a tenant, user or conversation."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

http_seconds = Histogram(
    "clawdbot_http_request_duration_seconds",
    "From the request's headers to the answer's last byte, by route template",
    ["route", "method", "status_class"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
accepted = Counter(
    "clawdbot_gateway_messages_total",
    "Messages that the broker keeps, by channel; outcome is accepted, repeated, ignored, or "
    "unpaired when the sender is not let in and was told a code",
    ["channel", "outcome"],
)
refused = Counter(
    "clawdbot_gateway_refused_total", "Messages sent away, by channel and code", ["channel", "code"]
)
chats = Gauge("clawdbot_gateway_chats_waiting", "Chat requests that wait for their answer")
callbacks = Counter(
    "clawdbot_gateway_callbacks_total", "Attempts to post a reply to the callback", ["outcome"]
)
sent = Counter(
    "clawdbot_gateway_sends_total",
    "Attempts to send a part of a reply, by channel; outcome is sent or the error's code",
    ["channel", "outcome"],
)
rate_limited = Counter(
    "clawdbot_gateway_rate_limited_total",
    "Requests and messages over a limit of gateway.rates, by kind of limit",
    ["kind"],
)
key_fetches = Counter(
    "clawdbot_gateway_key_fetches_total",
    "Attempts to fetch the keys of API tokens; outcome is fetched or failed",
    ["outcome"],
)
live_calls = Counter(
    "clawdbot_gateway_live_calls_total",
    "Edits of messages and typing signals, by channel; outcome is done or the error's code",
    ["channel", "call", "outcome"],
)
sockets = Gauge("clawdbot_gateway_sockets", "Open WebSocket connections")
socket_frames = Counter(
    "clawdbot_gateway_socket_frames_total",
    "Frames on WebSockets; direction is in or out, kind the method, event or res",
    ["direction", "kind"],
)
sockets_closed = Counter(
    "clawdbot_gateway_sockets_closed_total",
    "WebSockets that ended, by the code that we closed them with, or left",
    ["reason"],
)
fetches = Counter(
    "clawdbot_gateway_fetches_total",
    "Files that came with messages and were asked for; outcome is inline, blob or the error's code",
    ["outcome"],
)
connections = Gauge(
    "clawdbot_gateway_connections",
    "Whether this process is connected for a channel that does not come in by webhook",
    ["channel"],
)
connections_ended = Counter(
    "clawdbot_gateway_connections_ended_total",
    "Connections to platforms that ended or failed, by channel; reason is closed by the platform, "
    "hold_lost, or the error's code",
    ["channel", "reason"],
)
connection_events = Counter(
    "clawdbot_gateway_connection_events_total",
    "Events that came over connections to platforms, by channel; outcome is kept or refused",
    ["channel", "outcome"],
)
