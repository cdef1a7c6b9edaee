"""Which messages run something, and which only talk about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.assistant.domain.instructions import instruction_for


@pytest.mark.parametrize(
    "content",
    [
        "/sysinfo",
        "/SYSINFO@clawdbot",
        "system information",
        "System info?",
        "Please show me the system information.",
        "What is the system information of this machine?",
        "  give me\nsystem   info, please!",
        "系统信息",
        "请告诉我系统信息",
        "帮我查看一下当前的系统信息。",
        "系统信息是什么？",
        "show me 系统信息",
    ],
)
def test_request_for_system_information_is_recognised(content):
    assert instruction_for(content) == "system.info"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "hello",
        "/sysinformation",
        "My system information is secret",
        "don't show me the system information",
        "How do I write a system information tool in Go?",
        "不要给我系统信息",
        "我的系统信息课程很难",
        "系统信息安全",
        "system information " * 50,
    ],
)
def test_talk_about_system_information_runs_nothing(content):
    assert instruction_for(content) is None


@given(st.text(max_size=300))
def test_rule_has_an_answer_for_any_text(content):
    assert instruction_for(content) in {None, "system.info"}
