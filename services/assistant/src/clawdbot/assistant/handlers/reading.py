"""Reading the text files of a message."""

from __future__ import annotations

import logging

from clawdbot.assistant.domain.files import (
    MAX_TEXT_BYTES,
    ReadFile,
    Reading,
    decoded,
    name_of,
    readable,
)
from clawdbot.assistant.domain.limits import Limits
from clawdbot.assistant.domain.turn import Turn
from clawdbot.assistant.ports import Files
from clawdbot.schema.errors import Rejected, Retryable

log = logging.getLogger(__name__)

PATIENT_ATTEMPTS = 3
"""Attempts at a turn that a file's host may cost; after them it is answered without the file."""


class Reader:
    """Fetches what says that it is text, through the gateway."""

    def __init__(self, files: Files, limits: Limits) -> None:
        self._files = files
        self._limits = limits

    async def read(self, turn: Turn) -> Reading:
        """Return what was read of each file; one that cannot be read has a name alone.

        Raises:
            Retryable: a file may be there later, and the turn was not attempted often yet.
        """
        attachments = turn.message.attachments
        wanted = readable(attachments)
        files = [
            ReadFile(
                name=name_of(attachment),
                text=await self._text(turn, index) if index in wanted else None,
            )
            for index, attachment in enumerate(attachments)
        ]
        return Reading(files=tuple(files))

    async def _text(self, turn: Turn, index: int) -> str | None:
        mandate = turn.mandate(self._limits.call_timeout_s)
        try:
            data = await self._files.fetch(turn.message, index, MAX_TEXT_BYTES, mandate)
        except Rejected as exc:
            log.info("a file was not read", extra={"code": exc.code})
            return None
        except Retryable as exc:
            if turn.attempt < PATIENT_ATTEMPTS:
                raise
            log.warning("a file was not read", extra={"code": exc.code})
            return None
        return decoded(data)
