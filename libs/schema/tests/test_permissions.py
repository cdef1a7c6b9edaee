"""One owner writes each store, and only the gateway decides approvals."""

from __future__ import annotations

import pytest

from clawdbot.schema import subjects
from clawdbot.schema.permissions import SERVICES, TABLE, inbox
from clawdbot.schema.streams import BUCKETS, STREAMS


def matches(pattern: str, subject: str) -> bool:
    """Whether NATS would let a subscription to `pattern` hear `subject`."""
    ours, theirs = pattern.split(" ")[0].split("."), subject.split(".")
    for position, part in enumerate(ours):
        if part == ">":
            return len(theirs) > position
        if position >= len(theirs) or part not in ("*", theirs[position]):
            return False
    return len(ours) == len(theirs)


def writers(subject: str) -> set[str]:
    return {
        name
        for name in SERVICES
        if any(matches(pattern, subject) for pattern in TABLE[name].publish)
    }


@pytest.mark.parametrize("bucket", BUCKETS, ids=lambda bucket: bucket.name)
def test_a_bucket_is_written_by_its_owner_alone(bucket: object) -> None:
    assert writers(f"$KV.{bucket.name}.key") == {bucket.owner}  # type: ignore[attr-defined]  # a parametrised Bucket


def test_only_the_gateway_answers_approvals() -> None:
    assert writers(subjects.rpc("executor", "decide")) == {"gateway"}


def test_only_the_assistant_replies() -> None:
    assert writers("claw.out.webhook.t.c.m.0") == {"assistant"}


def test_only_the_executor_writes_the_audit_stream() -> None:
    assert writers("claw.audit.t.run") == {"executor"}


def test_no_service_can_change_streams_or_consumers() -> None:
    for verb in ("STREAM.CREATE", "STREAM.PURGE", "STREAM.DELETE", "CONSUMER.CREATE"):
        assert writers(f"$JS.API.{verb}.{STREAMS[0].name}") == set()


@pytest.mark.parametrize("name", SERVICES)
def test_nobody_hears_the_answers_of_another(name: str) -> None:
    others = [inbox(other) for other in TABLE if other != name]

    for other in others:
        assert not any(matches(p, f"{other}.x.y") for p in TABLE[name].subscribe)


def test_every_stream_has_its_own_subjects() -> None:
    patterns = [pattern for stream in STREAMS for pattern in stream.subjects]

    assert len(patterns) == len(set(patterns))
