"""Which messages run something, and which only talk about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.assistant.domain.instructions import Asked, asked_in


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
    assert asked_in(content) == Asked("system.info")


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
    assert asked_in(content) is None


@given(st.text(max_size=300))
def test_rule_has_an_answer_for_any_text(content):
    asked = asked_in(content)

    assert asked is None or asked.instruction in {"system.info", "python.snippet"}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("/python print(1)", "print(1)"),
        ("/Python@clawdbot  print('A  b')", "print('A  b')"),
        ("run python: print(1)", "print(1)"),
        ("Please run this Python code: x = 1; print(x)", "x = 1; print(x)"),
        ("运行 Python：print('你好')", "print('你好')"),
        ("请执行python代码: print(1)", "print(1)"),
    ],
)
def test_request_to_run_a_line_of_python_is_recognised_with_its_line(content, code):
    assert asked_in(content) == Asked("python.snippet", {"code": code})


@pytest.mark.parametrize(
    "content",
    [
        "/python",
        "/pythonic print(1)",
        "Should I run python: or ruby?",
        "run python:",
        "How do I run python code: in a venv",
        "/python print(1)\nprint(2)",
        "不要运行 Python：print(1)",
    ],
)
def test_talk_about_python_runs_nothing(content):
    assert asked_in(content) is None
