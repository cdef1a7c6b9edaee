"""How much a turn may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of one turn, in tokens, lines and seconds."""

    context_length: int
    """Tokens that prompt and answer may have together; the model's own limit counts too."""
    max_tokens: int
    """Tokens of one answer; what is left of the context is the prompt's."""
    recall_limit: int
    history_lines: int
    think_timeout_s: float
    """For one answer of the model, from asking to its last character."""
    call_timeout_s: float
    """For any other call."""
    run_timeout_s: float = 60.0
    """For one instruction, its wait for a free slot included."""
    temperature: float = 0.0
    """Greedy: the same prompt gives the same answer."""
    repetition_penalty: float = 1.1
    """Small models loop under greedy decoding without it."""

    @property
    def step_timeout_s(self) -> float:
        """Seconds for the longest step: history, two counts, a thought, and its record."""
        return max(self.think_timeout_s, self.run_timeout_s) + 4 * self.call_timeout_s
