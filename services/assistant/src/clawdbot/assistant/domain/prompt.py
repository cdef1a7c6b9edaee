"""What the model gets to read, and how it is made to fit.

Order of sacrifice: the oldest exchange first, then the memory that matches least, then the middles
of attached files; the newest turn is never dropped, at worst its middle is cut out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from clawdbot.assistant.domain import wording
from clawdbot.assistant.domain.files import ReadFile
from clawdbot.assistant.domain.language import Language
from clawdbot.assistant.domain.text import bounded, cut, one_line
from clawdbot.schema.inference import ChatTurn
from clawdbot.schema.memory import ConversationLine, Speaker
from clawdbot.schema.messages import Citation

MEMORY_CHARS = 400
LINE_CHARS = 2000
"""An older line longer than this shows its beginning and its end."""
MAX_CANDIDATES = 16
"""Drafts that are counted in one request: keeps it well under the bus's largest message."""


@dataclass(frozen=True)
class Persona:
    """What the model is told about itself, in one language.

    One language at a time and few words: both at once, or more of them, and a small model recalls
    fewer of the facts that stand below.
    """

    text: str
    heading: str
    """Stands over the memories."""


@dataclass(frozen=True)
class Draft:
    """A prompt before anybody knows how long it is."""

    persona: Persona
    memories: tuple[str, ...]
    """Best first, one line each."""
    history: tuple[ChatTurn, ...]
    """Oldest first."""
    newest: str
    files: tuple[ReadFile, ...] = ()
    """Text files that came with it."""
    language: Language = Language.EN
    """Of what is said about the files."""

    @classmethod
    def of(
        cls,
        persona: Persona,
        recalled: Sequence[Citation],
        lines: Sequence[ConversationLine],
        newest: str,
    ) -> Draft:
        """Return the draft that holds everything."""
        memories = tuple(one_line(citation.content, MEMORY_CHARS) for citation in recalled)
        return cls(persona, memories, tuple(map(_turn, lines)), newest)

    @property
    def messages(self) -> tuple[ChatTurn, ...]:
        """The prompt as the model takes it: the system's word, the history, the newest turn."""
        # Facts stand plainly in the system message, where a small model finds them best.
        facts = [f"- {memory}" for memory in self.memories]
        told = ["", self.persona.heading, *facts] if facts else []
        return (
            ChatTurn(role="system", content="\n".join([self.persona.text, *told])),
            *self.history,
            ChatTurn(role="user", content=self._said()),
        )

    def _said(self) -> str:
        shown = [*self._blocks(), self.newest] if self.newest else list(self._blocks())
        return "\n\n".join(shown)

    def _blocks(self) -> Iterator[str]:
        # Before the question: what stands last weighs most with a small model.
        for file in self.files:
            if file.text is not None:
                yield wording.file_block(file.name, file.text, self.language)
        unread = [file.name for file in self.files if file.text is None]
        if unread:
            yield wording.not_shown(unread, self.language)

    @property
    def bare(self) -> Draft:
        """The draft without memories and history."""
        return replace(self, memories=(), history=())

    def trimmed(self) -> list[Draft]:
        """Return ever smaller drafts, down to the bare one; the newest turn stays whole."""
        # Some chat templates demand that the history starts with the user.
        starts = [i for i, turn in enumerate(self.history) if i and turn.role == "user"]
        without_history = [*starts, len(self.history)] if self.history else []
        drafts = [replace(self, history=self.history[start:]) for start in without_history]
        for count in reversed(range(len(self.memories))):
            drafts.append(replace(self, history=(), memories=self.memories[:count]))
        return _thinned(drafts)

    def cuts(self, tokens: int, budget: int) -> list[Draft]:
        """Return bare drafts with ever less of files and newest turn, down to the mark of a cut.

        Args:
            tokens: length of the bare draft, over `budget`.
            budget: tokens that the prompt may have.
        """
        whole = len(self.newest) + sum(len(file.text or "") for file in self.files)
        keep = whole * max(0, budget) // tokens
        lengths = []
        while keep > 0:
            lengths.append(keep)
            keep = keep * 3 // 4
        return [*(self._cut(keep) for keep in lengths), self._without_files(0)]

    def _cut(self, keep: int) -> Draft:
        """Return the bare draft with `keep` characters; what was said goes before files."""
        room = keep - len(self.newest)
        if room <= 0 or not self.files:
            return self._without_files(keep)
        whole = sum(len(file.text or "") for file in self.files)
        files = [
            file.model_copy(update={"text": cut(file.text, len(file.text) * room // whole)})
            for file in self.files
            if file.text
        ]
        return replace(self.bare, files=tuple(files))

    def _without_files(self, keep: int) -> Draft:
        return replace(self.bare, newest=cut(self.newest, keep), files=())


def first_fitting(drafts: Sequence[Draft], tokens: Sequence[int], budget: int) -> Draft | None:
    """Return the first of `drafts` whose length is within `budget`."""
    counted = zip(drafts, tokens, strict=True)
    return next((draft for draft, length in counted if length <= budget), None)


def _thinned(drafts: list[Draft]) -> list[Draft]:
    if len(drafts) <= MAX_CANDIDATES:
        return drafts
    last = len(drafts) - 1
    picked = (last * i // (MAX_CANDIDATES - 1) for i in range(MAX_CANDIDATES))
    return [drafts[i] for i in picked]


def _turn(line: ConversationLine) -> ChatTurn:
    # What a tool said was told to the user by the assistant; few templates know a third voice.
    role = "user" if line.speaker is Speaker.USER else "assistant"
    return ChatTurn.model_validate({"role": role, "content": bounded(line.content, LINE_CHARS)})
