"""Which text may become an argument. What looks like something else is refused, never cleaned."""

from __future__ import annotations

import unicodedata

from clawdbot.schema.errors import InvalidMessage

MAX_ARGUMENT_BYTES = 32 * 1024

_REFUSED_CATEGORIES = {
    "Cc": "a control character",
    "Cf": "an invisible or direction-changing character",
    "Cs": "half a surrogate pair",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}
# Unicode counts these as letters, marks and symbols although nothing is drawn for them.
_BLANK = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
    | set(range(0x180B, 0x1810))
    | set(range(0xFE00, 0xFE10))
    | set(range(0xE0100, 0xE01F0))
)


def refuse_unsafe(text: str, field: str) -> None:
    """Pass when `text` shows all that it holds and fits an argument.

    Raises:
        InvalidMessage: control, bidirectional, zero-width or blank characters, lone surrogates,
            or more than `MAX_ARGUMENT_BYTES`.
    """
    for position, character in enumerate(text):
        reason = _REFUSED_CATEGORIES.get(unicodedata.category(character))
        if reason is None and ord(character) in _BLANK:
            reason = "an invisible character"
        if reason is not None:
            raise InvalidMessage(
                f"{field} holds {reason} (U+{ord(character):04X}) at {position}", field=field
            )
    if len(text.encode()) > MAX_ARGUMENT_BYTES:
        raise InvalidMessage(f"{field} is over {MAX_ARGUMENT_BYTES} bytes", field=field)
