"""Files that came with a message: which of them are text, and what was read of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from clawdbot.assistant.domain.text import bounded, one_line
from clawdbot.schema.messages import MAX_ATTACHMENTS, Attachment
from clawdbot.schema.wire import Wire

MAX_TEXT_BYTES = 65_536
"""Longer files are named, not read: little of them would fit into a prompt."""
MAX_READ = 4
"""Files of one message that are read."""
NAME_CHARS = 80
TEXT_TYPES = frozenset({"application/json", "application/csv", "application/x-ndjson"})
TEXT_ENDINGS = frozenset({".txt", ".md", ".markdown", ".csv", ".tsv", ".json", ".jsonl", ".log"})
"""For platforms that name no type."""
UNTYPED = frozenset({"", "application/octet-stream"})


class ReadFile(Wire):
    """One file, as the journal of a turn keeps it."""

    SCHEMA = "assistant_read_file/1"

    name: str
    """Of one line; what the platform calls it where it has no name."""
    text: str | None = None
    """All of it; None when it could not be read."""


class Reading(Wire):
    """What was read of a message's files, in their order."""

    SCHEMA = "assistant_reading/1"

    files: tuple[ReadFile, ...] = ()

    @property
    def texts(self) -> tuple[ReadFile, ...]:
        """The files that were read."""
        return tuple(file for file in self.files if file.text is not None)

    def within(self, chars: int) -> Reading:
        """Return it with texts of at most `chars` characters together, their middles cut out."""
        share = chars // max(1, len(self.texts))
        files = [
            file
            if file.text is None
            else file.model_copy(update={"text": bounded(file.text, share)})
            for file in self.files
        ]
        return Reading(files=tuple(files))

    @property
    def unread(self) -> tuple[str, ...]:
        """The names of the others."""
        return tuple(file.name for file in self.files if file.text is None)


def readable(attachments: Sequence[Attachment]) -> tuple[int, ...]:
    """Return the positions of those files that are worth fetching."""
    found = [index for index, one in enumerate(attachments[:MAX_ATTACHMENTS]) if is_text(one)]
    return tuple(found[:MAX_READ])


def unread(attachments: Sequence[Attachment]) -> Reading:
    """Return that none of the files was read."""
    return Reading(files=tuple(ReadFile(name=name_of(one)) for one in attachments))


def is_text(attachment: Attachment) -> bool:
    """Return whether a file says that it is text."""
    media_type = (attachment.media_type or "").partition(";")[0].strip().lower()
    if media_type in UNTYPED:
        return PurePath(attachment.name or "").suffix.lower() in TEXT_ENDINGS
    is_json = media_type.startswith("application/") and media_type.endswith("+json")
    return media_type.startswith("text/") or media_type in TEXT_TYPES or is_json


def name_of(attachment: Attachment) -> str:
    """Return what a file is called, on one line and without what could end a heading."""
    return one_line((attachment.name or attachment.type).replace("`", "'"), NAME_CHARS)


def decoded(data: bytes) -> str | None:
    """Return the text in `data`; None when it is not UTF-8, or holds what no text has."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return None if "\x00" in text else text
