"""What a person says to the system itself and not to the assistant: a closed list.

The gateway alone recognises these, after it verified who speaks, and carries them out; what came of
it travels with the message, so that the assistant answers in the order of the conversation.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum
from typing import NamedTuple

from clawdbot.schema.errors import ErrorReply
from clawdbot.schema.executor import Approval
from clawdbot.schema.wire import Wire


class ControlKind(StrEnum):
    """What is asked of the system."""

    APPROVE = "approve"
    DENY = "deny"
    STOP = "stop"
    PAIR = "pair"
    """Nobody said it: the sender is not known yet and is told the code by which an admin can let
    them in."""


class Control(Wire):
    """A control word that the gateway carried out, and what came of it."""

    SCHEMA = "control/1"

    kind: ControlKind
    code: str = ""
    """Of the approval, or of the pairing."""
    approval: Approval | None = None
    """The approval after the decision."""
    error: ErrorReply | None = None
    """Why it was not carried out."""


class ControlWord(NamedTuple):
    """What a message says to the system, and about which approval."""

    kind: ControlKind
    code: str = ""
    """As codes are written: capitals and digits."""


_WORDS = {
    ControlKind.APPROVE: ("approve", "批准"),
    ControlKind.DENY: ("deny", "拒绝"),
    ControlKind.STOP: ("stop", "停止"),
}
_KINDS = {word: kind for kind, words in _WORDS.items() for word in words}
MAX_CONTROL_CHARS = 128
"""The longest word, a bot's name of 64 and a code fit; a longer text is no control word."""
MAX_CODE_CHARS = 32

# Telegram adds the bot's name to a command. A Chinese word needs no space after it.
_CONTROL = re.compile(
    r"/(?P<word>approve|deny|stop|批准|拒绝|停止)(?:@\w{1,64})?"
    rf"(?:(?:(?<=[批准拒绝])|\s+)(?P<code>[a-z0-9][a-z0-9-]{{0,{MAX_CODE_CHARS - 1}}}))?"
)
# Crockford's base 32 has neither of these letters, since they are read as digits.
_READ_AS = str.maketrans("OIL", "011", "-")


def control_of(text: str) -> ControlWord | None:
    """Return the control word that `text` is, and nothing but it; None for anything else.

    Case, full-width characters and space around it do not matter. `/approve` and `/deny` need a
    code, `/stop` must have none.
    """
    if len(text) > MAX_CONTROL_CHARS:
        return None
    # NFKC turns the full-width slash, letters and space into the plain ones.
    found = _CONTROL.fullmatch(unicodedata.normalize("NFKC", text).strip().lower())
    if found is None:
        return None
    kind, code = _KINDS[found["word"]], code_of(found["code"] or "")
    if bool(code) is (kind is ControlKind.STOP):
        return None
    return ControlWord(kind, code)


def code_of(text: str) -> str:
    """Return the code that a person typed, as codes are written.

    Source: https://www.crockford.com/base32.html, decoding of lower case, hyphens, O, I and L.
    """
    return text.upper().translate(_READ_AS)


def said(word: ControlWord, *, in_chinese: bool = False) -> str:
    """Return the text that says `word`; buttons carry it as their value."""
    name = _WORDS[word.kind][in_chinese]
    return f"/{name} {word.code}".rstrip()
