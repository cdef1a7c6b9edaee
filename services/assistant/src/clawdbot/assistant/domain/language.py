"""Which of our two languages a person is answered in."""

from __future__ import annotations

import re
from enum import StrEnum

_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")


class Language(StrEnum):
    """A language that our own texts exist in."""

    EN = "en"
    ZH = "zh"


def language_of(text: str) -> Language:
    """Return Chinese when `text` holds any Chinese character, English otherwise."""
    return Language.ZH if _HAN.search(text) else Language.EN
