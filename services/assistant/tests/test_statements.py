"""What is remembered, by a rule that a person can predict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.assistant.domain.statements import is_worth_remembering


@pytest.mark.parametrize(
    "content",
    [
        "My cat is called Mimi.",
        "I live in Berlin and work as a nurse",
        "I'm allergic to peanuts!",
        "When I was a child I lived in Oslo.",
        "Will is my brother.",
        "The meeting is on Friday. When is it over?",
        "Hi! I moved to Paris last week.",
        "我住在北京。",
        "我的猫叫咪咪",
        "我对花生过敏！",
        "你好，我叫李雷。",
        "我下周去上海。那边天气怎么样？",
        "发烧了三天",
    ],
)
def test_statement_is_remembered(content):
    assert is_worth_remembering(content)


@pytest.mark.parametrize(
    "content",
    [
        "What is my cat called?",
        "what is my cat called",
        "Where do I live",
        "How old am I?",
        "Do you remember that my cat is called Mimi?",
        "is it raining",
        "Can you help me with this",
        "When is the meeting",
        "I want to know where I live",
        "I live in Berlin, right?",
        "我的猫叫什么名字？",
        "我的猫叫什么",
        "我住在北京吗",
        "你记得我叫什么吗？",
        "明天几点开会",
    ],
)
def test_question_is_not_remembered(content):
    assert not is_worth_remembering(content)


@pytest.mark.parametrize(
    "content",
    [
        "/sysinfo",
        "/help me now please",
        "Tell me a joke.",
        "please write a poem about tea",
        "Hey Clawdbot, show me the list",
        "Let's talk",
        "I want you to summarise this",
        "请帮我写一首诗",
        "翻译成英文：你好",
        "给我讲个笑话",
        "告诉我时间",
    ],
)
def test_command_is_not_remembered(content):
    assert not is_worth_remembering(content)


@pytest.mark.parametrize(
    "content", ["hi", "Hello!", "Thank you very much.", "ok", "你好！", "谢谢", "Berlin", "", " "]
)
def test_greeting_or_single_word_is_not_remembered(content):
    assert not is_worth_remembering(content)


@pytest.mark.parametrize(
    "content",
    [
        "Remember that my door code is 1234",
        "remember that I like tea, ok?",
        "Please remember: tea",
        "Don’t forget that tea is hot",
        "Could you please remember that I am vegan?",
        "Remember my birthday",
        "记住我的生日是五月一日",
        "请记住：我吃素",
        "别忘了我对花生过敏",
    ],
)
def test_explicit_wish_is_always_remembered(content):
    assert is_worth_remembering(content)


@pytest.mark.parametrize("content", ["remember", "Remember when we met?", "记住", "记住了吗？"])
def test_wish_without_anything_to_keep_is_not_remembered(content):
    assert not is_worth_remembering(content)


@given(st.text(max_size=300))
def test_rule_has_an_answer_for_any_text(content):
    assert is_worth_remembering(content) in {True, False}
