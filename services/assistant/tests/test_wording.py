"""Our own sentences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.assistant.domain import wording
from clawdbot.assistant.domain.language import Language, language_of
from clawdbot.assistant.domain.text import bounded, one_line
from clawdbot.schema.errors import ErrorReply
from clawdbot.schema.executor import Outcome, RunReply


def ran(**fields: object) -> RunReply:
    known = {
        "operation_id": "o",
        "plan_hash": "0" * 64,
        "outcome": Outcome.FINISHED,
        "exit_status": 0,
        "stdout": "ok\n",
        "stderr": "",
        "truncated": False,
        "duration_ms": 1,
    }
    return RunReply.model_validate(known | fields)


def test_bug_is_told_by_its_reference_alone():
    error = ErrorReply(code="internal", message="internal error", trace_id="abc")

    assert wording.apology(error, Language.EN) == (
        "Sorry, something went wrong on our side.\nReference: abc"
    )


def test_error_is_told_in_chinese_with_its_fix():
    error = ErrorReply(code="not_found", message="model missing.", fix="build it", trace_id="abc")

    text = wording.apology(error, Language.ZH)

    assert text == "抱歉，我没能回答：model missing。解决办法：build it。\n参考编号：abc"


def test_braces_in_an_error_are_left_alone():
    error = ErrorReply(code="invalid", message="{0} {x}")

    assert "{0} {x}" in wording.apology(error, Language.EN)


def test_output_cannot_end_its_own_block():
    text = wording.report("system.info", ran(stdout="a\n```\nb"), Language.EN)

    assert text == "System information\n````\na\n```\nb\n````"


@pytest.mark.parametrize("language", list(Language))
@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_unhappy_end_is_told(language, outcome):
    text = wording.report(
        "system.info", ran(outcome=outcome, exit_status=3, stderr="why"), language
    )

    assert text.count("```") == 4
    assert len(text.splitlines()) == 8


def test_shortened_output_is_admitted():
    assert "shortened" in wording.report("x", ran(truncated=True), Language.EN)


def test_language_is_chinese_as_soon_as_a_chinese_character_stands_in_the_text():
    assert language_of("show me 系统") is Language.ZH
    assert language_of("show me") is Language.EN


@given(st.text(), st.integers(min_value=10, max_value=50))
def test_bounded_text_is_within_its_bound(text, limit):
    assert len(bounded(text, limit)) <= limit
    line = one_line(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1
