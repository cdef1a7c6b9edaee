from __future__ import annotations

from dataclasses import replace

import pytest

from clawdbot.executor.adapters.instruction_set import load
from clawdbot.executor.domain.plan import Plan, Requester, make_plan
from clawdbot.executor.domain.profile import PURE
from clawdbot.schema.errors import Unavailable

ALICE = Requester(tenant="acme", user="alice", conversation="c1", channel="webhook")
PLAN = Plan(
    instruction="system.info",
    instruction_version=1,
    manifest_sha256="a" * 64,
    executable_sha256="b" * 64,
    argv=("/usr/bin/head", "--", "/proc/uptime"),
    profile=PURE,
    requester=ALICE,
)


def test_hash_of_a_plan_is_the_same_on_every_machine() -> None:
    assert PLAN.hash == "4558a56a0bcd5907bed65bd56b414c3b69d01439f8eaae776ced2ba9eb68c520"


@pytest.mark.parametrize(
    "changed",
    [
        replace(PLAN, instruction="system.info2"),
        replace(PLAN, instruction_version=2),
        replace(PLAN, manifest_sha256="c" * 64),
        replace(PLAN, executable_sha256="c" * 64),
        replace(PLAN, argv=("/usr/bin/head", "--", "/proc/uptimf")),
        replace(PLAN, argv=("/usr/bin/head", "-- /proc/uptime")),
        replace(PLAN, profile=replace(PURE, wall_s=11.0)),
        replace(PLAN, profile=replace(PURE, environment={})),
        replace(PLAN, requester=replace(ALICE, tenant="other")),
        replace(PLAN, requester=replace(ALICE, user="bob")),
        replace(PLAN, requester=replace(ALICE, conversation="c2")),
        replace(PLAN, requester=replace(ALICE, channel="api")),
    ],
)
def test_every_part_of_a_plan_changes_its_hash(changed: Plan) -> None:
    assert changed.hash != PLAN.hash


def test_plan_is_shown_with_each_word_quoted() -> None:
    shown = replace(PLAN, argv=("/usr/bin/x", "a b", "中文", '"')).rendered()

    assert shown == (
        'system.info (version 1): "/usr/bin/x" "a b" "中文" "\\""; at most 10 s, network none'
    )


def test_instruction_whose_program_is_missing_cannot_be_planned() -> None:
    instruction = replace(load()["system.info"], executable_sha256=None)

    with pytest.raises(Unavailable, match="this host has no"):
        make_plan(instruction, {}, ALICE)
