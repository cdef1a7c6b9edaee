"""What every service measures about the bus; labels never name a tenant, user or conversation."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, Info

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

build = Info("clawdbot_build", "Version of the running service")
bus_connected = Gauge("clawdbot_bus_connected", "1 while the connection to the broker stands")
store_seconds = Histogram(
    "clawdbot_bus_publish_duration_seconds",
    "From publishing to a stream until its acknowledgement",
    ["subject_template", "outcome"],
    buckets=SECONDS,
)
handle_seconds = Histogram(
    "clawdbot_bus_handle_duration_seconds",
    "One attempt at a stored message",
    ["consumer", "outcome"],
    buckets=SECONDS,
)
queue_age_seconds = Histogram(
    "clawdbot_bus_queue_age_seconds",
    "How long a message lay in its stream before its first attempt",
    ["consumer"],
    buckets=SECONDS,
)
redeliveries = Counter(
    "clawdbot_bus_redeliveries_total", "Deliveries beyond the first", ["consumer"]
)
dead_letters = Counter("clawdbot_bus_dead_letters_total", "Messages given up on", ["reason"])
inflight = Gauge("clawdbot_bus_inflight", "Conversations being worked on", ["consumer"])
leases_lost = Counter(
    "clawdbot_bus_leases_lost_total", "Conversations taken over while working", ["consumer"]
)
rpc_seconds = Histogram(
    "clawdbot_rpc_duration_seconds",
    "Requests answered, by method and error code",
    ["method", "code"],
    buckets=SECONDS,
)
