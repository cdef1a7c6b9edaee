"""The limits that `gateway.rates` of the configuration gives."""

from __future__ import annotations

from clawdbot.gateway.adapters import metrics
from clawdbot.gateway.domain.buckets import Limit
from clawdbot.gateway.domain.crowd import Crowd
from clawdbot.gateway.domain.rates import Kind, Rates
from clawdbot.runtime.config_sections import RateSettings


def limits_of(section: RateSettings) -> dict[Kind, Limit]:
    """Return the limits by kind; what has no rate has no limit."""
    pace = {
        Kind.CONVERSATION: (section.conversation_per_s, section.conversation_burst),
        Kind.REPETITION: (section.conversation_per_s, section.conversation_burst),
        Kind.SENDER: (section.sender_per_s, section.sender_burst),
        Kind.CHANNEL: (section.channel_per_s, section.channel_burst),
        Kind.TENANT: (section.tenant_per_s, section.tenant_burst),
        Kind.ADDRESS: (section.address_per_s, section.address_burst),
        Kind.FAILURE: (section.failure_per_s, section.failure_burst),
    }
    return {kind: Limit(per_s, burst) for kind, (per_s, burst) in pace.items() if per_s is not None}


def rates_of(section: RateSettings) -> Rates:
    """Return the limits of a replica, all unused; refusals are counted in the metrics."""
    return Rates(limits_of(section), section.max_keys, _refused)


def keeping_of(section: RateSettings) -> Crowd:
    """Return what bounds the messages of a conversation that are being stored."""
    return Crowd(Kind.KEEPING, section.conversation_inflight, _refused)


def waiting_of(section: RateSettings) -> Crowd:
    """Return what bounds the questions of a sender that wait for their answer."""
    return Crowd(Kind.WAITING, section.sender_chats, _refused)


def _refused(kind: Kind) -> None:
    metrics.rate_limited.labels(kind.value).inc()
