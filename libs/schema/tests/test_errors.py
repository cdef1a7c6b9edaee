"""Errors keep their class, field and fix across the bus; bugs tell nothing."""

from __future__ import annotations

import pytest

from clawdbot.schema import errors
from clawdbot.schema.errors import (
    ClawdbotError,
    ErrorReply,
    Internal,
    NotFound,
    Overloaded,
    Rejected,
    Retryable,
    from_wire,
    to_wire,
)


def leaves(parent: type[ClawdbotError] = ClawdbotError) -> list[type[ClawdbotError]]:
    # Packages above the schema may refine an error for themselves; on the wire it is the parent.
    children = [child for child in parent.__subclasses__() if child.__module__ == errors.__name__]
    return [parent] if not children else [leaf for child in children for leaf in leaves(child)]


@pytest.mark.parametrize("kind", leaves(), ids=lambda kind: kind.__name__)
def test_an_error_arrives_as_what_it_was(kind: type[ClawdbotError]) -> None:
    arrived = from_wire(to_wire(kind("what is wrong")))

    assert type(arrived) is kind
    assert arrived.message == "what is wrong"


def test_field_and_fix_arrive() -> None:
    arrived = from_wire(to_wire(NotFound("no model", field="model", fix="run make models")))

    assert (arrived.field, arrived.fix) == ("model", "run make models")


def test_the_wait_arrives() -> None:
    assert from_wire(to_wire(Overloaded("full", retry_after_s=2.5))).retry_after_s == 2.5


def test_a_bug_tells_nothing_of_itself() -> None:
    wire = to_wire(KeyError("a secret"), "trace")

    assert wire == ErrorReply(code="internal", message="internal error", trace_id="trace")


def test_an_unknown_code_is_somebodys_bug() -> None:
    assert type(from_wire(ErrorReply(code="newer", message="x"))) is Internal


def test_every_error_is_either_permanent_or_transient() -> None:
    for kind in leaves():
        if kind is Internal:
            continue
        assert issubclass(kind, Rejected) != issubclass(kind, Retryable)
        assert kind.retryable == issubclass(kind, Retryable)


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in leaves()]

    assert len(codes) == len(set(codes))
