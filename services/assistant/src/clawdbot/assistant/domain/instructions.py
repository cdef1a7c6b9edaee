"""Which messages ask for an instruction of the executor.

By rule, not by model: a small model picks the wrong tool half of the time, and a rule can be read.
A message counts only when nothing but the request stands in it, so that talking about system
information does not run anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_REQUEST_CHARS = 120
"""A longer text says more than the request, whatever its words."""

_WORD = re.compile(r"[^\W\u3400-\u9fff]+(?:'[a-z]+)?")
_HAN = re.compile(r"[\u3400-\u9fff]")


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


_FILLER_WORDS = _words(
    "a about all can check clawdbot computer could current display fetch for get give hello hey hi",
    "host i is like machine me my need now of our please print query run see server show some tell",
    "thank thanks the this to us want what what's whats would you your",
)
_FILLER_CHARACTERS = frozenset(
    "请问帮忙我你您给把想要能可以一下看查询显示告诉获取当前现在的这台本机器电脑服务主是什么多少"
    "怎样吗呢吧谢麻烦了个列出来打印"
)


_PYTHON = re.compile(
    r"(?:/python(?:@\w{1,64})?\s"
    r"|(?:please )?run (?:this )?python(?: code)?\s*[:：]"
    r"|请?(?:运行|执行)(?:一下)?\s*python\s*(?:代码)?\s*[:：])(?P<code>.+)",
    re.IGNORECASE,
)
"""One line of Python after words that ask to run it; further lines make it talk."""


@dataclass(frozen=True)
class Asked:
    """An instruction of the executor that a message asks for."""

    instruction: str
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Request:
    """An instruction with the ways to ask for it."""

    instruction: str
    commands: frozenset[str]
    phrases: tuple[str, ...]
    """Longer ones before those that they contain."""


_REQUESTS = (
    _Request(
        "system.info",
        frozenset({"/sysinfo"}),
        ("system information", "system info", "系统信息"),
    ),
)


def asked_in(content: str) -> Asked | None:
    """Return the instruction that `content` asks for, with its arguments, or None."""
    snippet = _PYTHON.fullmatch(content.strip())
    if snippet is not None and snippet["code"].strip():
        return Asked("python.snippet", {"code": snippet["code"].strip()})
    text = " ".join(content.casefold().split())
    if not text or len(text) > MAX_REQUEST_CHARS:
        return None
    # Some platforms append the bot's name to a command: `/sysinfo@clawdbot`.
    command = text.split(maxsplit=1)[0].partition("@")[0]
    for request in _REQUESTS:
        if command in request.commands or _only_asks(text, request.phrases):
            return Asked(request.instruction)
    return None


def _only_asks(text: str, phrases: tuple[str, ...]) -> bool:
    phrase = next((phrase for phrase in phrases if phrase in text), None)
    if phrase is None:
        return False
    rest = text.replace(phrase, " ", 1)
    words, characters = _WORD.findall(rest), _HAN.findall(rest)
    return _FILLER_WORDS.issuperset(words) and _FILLER_CHARACTERS.issuperset(characters)
