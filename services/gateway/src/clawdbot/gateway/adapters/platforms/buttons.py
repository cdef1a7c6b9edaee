"""Buttons below a reply that asks for an approval: what they show, and what pressing them says.

A button's value is the control word that a person could have typed, so that one parser
(`clawdbot.schema.controls`) serves both; any other value is not ours and means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.schema.controls import ControlKind, ControlWord, control_of, said

_LABELS = {ControlKind.APPROVE: ("Approve", "批准"), ControlKind.DENY: ("Deny", "拒绝")}


@dataclass(frozen=True)
class Button:
    """One of them."""

    name: str
    """`approve` or `deny`."""
    label: str
    value: str
    """At most 64 bytes, which is what Telegram takes."""
    is_approval: bool


def buttons_of(part: ReplyPart) -> tuple[Button, ...]:
    """Return the buttons that go with `part`: below the last part of a question."""
    approval = part.reply.approval
    if approval is None or not part.is_last:
        return ()
    words = [ControlWord(kind, approval.code) for kind in _LABELS]
    # The question holds the same words in its reader's language.
    in_chinese = said(words[0], in_chinese=True) in part.reply.content
    return tuple(
        Button(
            name=word.kind.value,
            label=_LABELS[word.kind][in_chinese],
            value=said(word, in_chinese=in_chinese),
            is_approval=word.kind is ControlKind.APPROVE,
        )
        for word in words
    )


def is_ours(value: str) -> bool:
    """Return whether pressing a button with `value` answers an approval."""
    word = control_of(value)
    return word is not None and word.kind in _LABELS
