from __future__ import annotations

import io
import threading

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from clawdbot.cli.log_lines import LineSplitter, LogPrinter

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=30)


@given(st.lists(WORDS, max_size=8), st.integers(min_value=1, max_value=7))
def test_lines_do_not_depend_on_how_the_bytes_arrive(lines: list[str], size: int) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    splitter = LineSplitter()

    found = [
        line
        for start in range(0, len(data), size)
        for line in splitter.feed(data[start : start + size])
    ]

    assert found == lines
    assert splitter.rest() == []


def test_a_line_without_an_end_is_given_when_nothing_follows() -> None:
    splitter = LineSplitter()

    assert splitter.feed(b"one\ntw") == ["one"]
    assert splitter.rest() == ["tw"]


def test_a_long_line_is_cut_and_says_so() -> None:
    splitter = LineSplitter(limit=4)

    assert splitter.feed(b"abcdefgh") == []
    assert splitter.feed(b"ij\nnext\n") == ["abcd ... [6 more bytes]", "next"]


@given(st.binary(max_size=200))
def test_no_line_can_steer_the_terminal(data: bytes) -> None:
    splitter = LineSplitter()

    lines = splitter.feed(data) + splitter.rest()

    assert not any(ord(char) < 32 and char != "\t" for line in lines for char in line)
    assert not any("\x7f" <= char <= "\x9f" for line in lines for char in line)


def test_each_line_carries_its_speaker_and_is_taken_literally() -> None:
    written = io.StringIO()
    printer = LogPrinter(Console(file=written, width=20))

    printer.say("memory", "[red]not markup[/red] and longer than the terminal is wide")
    printer.close()

    expected = "memory    | [red]not markup[/red] and longer than the terminal is wide\n"
    assert written.getvalue() == expected


class StandingTerminal(io.StringIO):
    """A terminal that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.is_writing = threading.Event()
        self.may_go_on = threading.Event()

    def write(self, text: str) -> int:
        self.is_writing.set()
        self.may_go_on.wait(10)
        return super().write(text)


def test_a_terminal_that_stands_still_holds_up_nobody() -> None:
    terminal = StandingTerminal()
    printer = LogPrinter(Console(file=terminal), limit=2)

    printer.say("memory", "first")
    terminal.is_writing.wait(10)
    for number in range(5):
        printer.say("memory", f"line {number}")
    terminal.may_go_on.set()
    printer.close()

    written = terminal.getvalue()
    assert "line 1" in written
    assert "line 2" not in written
    assert "3 log lines dropped" in written
