"""Asking the model: a prompt that fits, and an answer that can be watched while it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from clawdbot.assistant.domain.language import Language
from clawdbot.assistant.domain.limits import Limits
from clawdbot.assistant.domain.prompt import Draft, Persona, first_fitting
from clawdbot.assistant.domain.turn import Known, Turn
from clawdbot.assistant.ports import Deltas, MemoryService, Model
from clawdbot.schema.errors import TooLarge
from clawdbot.schema.inference import ChatDone, ChatRequest, CountReply
from clawdbot.schema.memory import ConversationLine
from clawdbot.schema.messages import Delta, InboundMessage

Personas = Mapping[Language, Persona]
"""One for every language."""

LONGEST_TOKEN_CHARS = 8
"""More than a token of ordinary text has."""


class Writing:
    """The pieces of one answer, numbered from 0; a turn that starts anew numbers anew."""

    def __init__(self, deltas: Deltas, message: InboundMessage) -> None:
        self._deltas = deltas
        self._message = message
        self.count = 0
        """How many pieces were broadcast."""
        self.text = ""
        """What was written so far."""

    async def write(self, text: str) -> None:
        """Broadcast the next piece."""
        piece = Delta(message_id=self._message.message_id, index=self.count, text=text)
        self.count += 1
        self.text += text
        await self._deltas.send(self._message.conversation_id, piece)


class Thinker:
    """Turns a question and what is known about it into the model's answer."""

    def __init__(
        self, model: Model, memory: MemoryService, personas: Personas, limits: Limits
    ) -> None:
        self._model = model
        self._memory = memory
        self._personas = personas
        self._limits = limits

    async def think(self, turn: Turn, known: Known, writing: Writing) -> ChatDone:
        """Return the model's answer, written to `writing` piece by piece.

        Raises:
            NotFound: the model is missing.
            TooLarge: the settings leave no room for any prompt.
        """
        persona = self._personas[turn.language]
        lines = await self._history(turn)
        said = Draft.of(persona, known.recalled.citations, lines, turn.text)
        # What cannot fit need not be counted.
        reading = known.reading.within(LONGEST_TOKEN_CHARS * self._limits.context_length)
        draft = replace(said, files=reading.files, language=turn.language)
        fitting = await self.fit(draft, turn)
        request = ChatRequest(
            messages=fitting.messages,
            max_tokens=self._limits.max_tokens,
            temperature=self._limits.temperature,
            repetition_penalty=self._limits.repetition_penalty,
        )
        mandate = turn.mandate(self._limits.think_timeout_s)
        return await self._model.chat(request, writing.write, mandate)

    async def fit(self, draft: Draft, turn: Turn) -> Draft:
        """Return as much of `draft` as leaves room for the answer, in at most two counts.

        Raises:
            TooLarge: not even the mark of a cut fits beside the persona.
        """
        counted = await self._count((draft, draft.bare), turn)
        whole, bare = counted.tokens
        budget = min(self._limits.context_length, counted.context_length) - self._limits.max_tokens
        if whole <= budget:
            return draft
        smaller = draft.trimmed() if bare <= budget else draft.cuts(bare, budget)
        fitting = first_fitting(smaller, (await self._count(smaller, turn)).tokens, budget)
        if fitting is None:
            raise TooLarge(
                f"a context of {counted.context_length} tokens has no room for a prompt",
                fix="raise models.context_length or lower assistant.max_tokens",
            )
        return fitting

    async def _history(self, turn: Turn) -> tuple[ConversationLine, ...]:
        wanted = self._limits.history_lines
        if not wanted:
            return ()
        return await self._memory.history(wanted, turn.mandate(self._limits.call_timeout_s))

    async def _count(self, drafts: Sequence[Draft], turn: Turn) -> CountReply:
        prompts = [draft.messages for draft in drafts]
        return await self._model.count(prompts, turn.mandate(self._limits.call_timeout_s))
