from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.executor.domain.arguments import MAX_ARGV_BYTES, command_line
from clawdbot.executor.domain.instruction import (
    JSON,
    Choice,
    Confirm,
    Flag,
    Instruction,
    Literal,
    Option,
    Positional,
)
from clawdbot.executor.domain.profile import PURE
from clawdbot.schema.errors import ClawdbotError, InvalidMessage, TooLarge
from clawdbot.schema.executor import Risk

_TEXT = {"type": "string", "maxLength": 70000}

_SEARCH = Instruction(
    id="text.search",
    version=1,
    manifest_sha256="0" * 64,
    summary={"en": "Search", "zh": "搜索"},
    executable="/usr/bin/search",
    executable_sha256="1" * 64,
    schema={
        "type": "object",
        "additionalProperties": False,
        "required": ["words"],
        "properties": {
            "words": {"type": "array", "items": _TEXT},
            "label": _TEXT,
            "depth": {"type": "integer", "minimum": -9},
            "all": {"type": "boolean"},
            "order": {"enum": ["name", "size"], "default": "name"},
            "raw": _TEXT | {"x-leading-dash": True},
        },
    },
    template=(
        Literal("--quiet"),
        Flag("all", "--all"),
        Option("label", "--label"),
        Option("depth", "-d"),
        Choice("order", {"name": ("--sort", "n"), "size": ("--sort", "s")}),
        Literal("--"),
        Positional("words"),
        Positional("raw"),
    ),
    profile=PURE,
    risk=Risk.READS_OWN_INPUT,
    confirm=Confirm.NEVER,
    requires=frozenset(),
    samples=(),
)

_JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_arguments_are_written_in_the_order_of_the_template() -> None:
    arguments: dict[str, JSON] = {
        "words": ["a", "b c"],
        "all": True,
        "label": "x=y",
        "depth": 2,
        "order": "size",
        "raw": "-v",
    }

    argv = command_line(_SEARCH, arguments)

    assert argv == (
        *("/usr/bin/search", "--quiet", "--all", "--label=x=y", "-d", "2", "--sort", "s"),
        *("--", "a", "b c", "-v"),
    )


def test_absent_arguments_are_left_out_and_defaults_are_filled_in() -> None:
    argv = command_line(_SEARCH, {"words": [], "all": False})

    assert argv == ("/usr/bin/search", "--quiet", "--sort", "n", "--")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"words": ["-rf"]}, "words.0"),
        ({"words": ["a"], "label": "-x"}, "label"),
        ({"words": ["a\0b"]}, "words.0"),
        ({"words": ["a"], "raw": "-\u202ex"}, "raw"),
        ({"words": ["a"], "command": "id"}, "arguments"),
        ({"words": "a"}, "words"),
        ({"words": [1]}, "words.0"),
        ({"words": ["a"], "all": 1}, "all"),
        ({"words": ["a"], "depth": "1"}, "depth"),
        ({"words": ["a"], "order": "date"}, "order"),
        ({}, "arguments"),
    ],
)
def test_refused_arguments_are_named(arguments: dict[str, JSON], field: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        command_line(_SEARCH, arguments)

    assert refused.value.field == field


def test_refusal_does_not_repeat_the_value() -> None:
    with pytest.raises(InvalidMessage) as refused:
        command_line(_SEARCH, {"words": ["a"], "order": "my secret"})

    assert "secret" not in refused.value.message


def test_command_line_over_the_limit_is_too_large() -> None:
    with pytest.raises(TooLarge):
        command_line(_SEARCH, {"words": ["x" * 30000] * (MAX_ARGV_BYTES // 30000 + 1)})


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(["words", "label", "depth", "all", "raw"]), _JSON_VALUES))
def test_any_arguments_are_refused_or_stay_in_their_place(arguments: dict[str, JSON]) -> None:
    try:
        argv = command_line(_SEARCH, arguments)
    except ClawdbotError:
        return

    options, _, positionals = _split(argv)
    assert set(options) - {"-d"} <= {
        *("--quiet", "--all", "--sort", "n", str(arguments.get("depth"))),
        f"--label={arguments.get('label')}",
    }
    words = arguments["words"]
    assert isinstance(words, list)
    assert positionals[: len(words)] == words
    for word in argv:
        assert "\0" not in word
        os.fsencode(word)


@given(st.text(), st.text())
def test_positional_words_never_look_like_options(first: str, second: str) -> None:
    try:
        argv = command_line(_SEARCH, {"words": [first, second]})
    except InvalidMessage:
        return

    assert _split(argv)[2] == [first, second]
    assert not first.startswith("-")
    assert not second.startswith("-")


def _split(argv: tuple[str, ...]) -> tuple[list[str], str, list[str]]:
    at = argv.index("--")
    return list(argv[1:at]), argv[at], list(argv[at + 1 :])
