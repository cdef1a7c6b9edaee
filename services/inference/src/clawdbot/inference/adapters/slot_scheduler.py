"""Generates several answers at once: each reads its prompt alone, then all step together.

One iteration forgets who left, lets the next request in when a slot is free, reads one chunk of
its prompt, and adds one token to every answer that is being written. So a newcomer gets its first
token while others go on, and a long prompt delays them by one chunk at most.

The slots that are being written are always the first ones, because a run takes a contiguous range
of the cache: when one in the middle ends, the last one is moved into its place.

Source: iteration-level scheduling (Yu et al. 2022, Orca), chunked prefill (Agrawal et al. 2023).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clawdbot.inference.adapters import metrics
from clawdbot.inference.domain.sampling import Sampler
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, DeadlineExceeded, Overloaded, Unavailable


class Steps(Protocol):
    """What the scheduler needs of a model; see `CausalGraph`."""

    def prefill(self, slot: int, tokens: Sequence[int], held: int) -> NDArray[np.float32]:
        """Add `tokens` to a slot that holds `held`; return the last one's logits."""

    def decode(self, tokens: Sequence[int], held: Sequence[int]) -> NDArray[np.float32]:
        """Add one token to each of the first slots; return their logits."""

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of a slot to another."""


class Sink(Protocol):
    """Where an answer's tokens go."""

    def put(self, token: int) -> None:
        """Take the next token."""

    def end(self, error: ClawdbotError | None = None) -> None:
        """Take note that nothing follows."""


@dataclass(eq=False)
class Generation:
    """One answer, from waiting to its end."""

    prompt: Sequence[int]
    sampler: Sampler
    limit: int
    """Most tokens to generate; prompt and answer together fit the slot."""
    deadline: Deadline
    sink: Sink
    is_cancelled: bool = False
    """Set by whoever no longer listens; seen before the next step."""
    held: int = 0
    """Tokens that the slot holds."""
    last: int = 0
    count: int = 0
    """Tokens generated."""
    arrived_at: float = field(default_factory=time.monotonic)

    def is_gone(self) -> bool:
        """Tell whether nobody wants it any more, after telling them so when it expired."""
        if self.is_cancelled:
            return True
        if self.deadline.remaining_s() > 0:
            return False
        self.sink.end(DeadlineExceeded("the deadline passed before the answer was complete"))
        return True


@dataclass(frozen=True)
class SlotLimits:
    """Bounds of a scheduler."""

    slots: int
    max_queue: int
    chunk: int = 256
    """Prompt tokens between two steps of the others: about a third of a second on two cores."""


class SlotScheduler:
    """Decides what the model does next. `submit` is for any thread, the rest for one."""

    def __init__(
        self, steps: Steps, limits: SlotLimits, stop_tokens: frozenset[int], model: str
    ) -> None:
        self._steps = steps
        self._limits = limits
        self._stop_tokens = stop_tokens
        self._model = model
        self._lock = threading.Lock()
        self._waiting: deque[Generation] = deque()
        self._entering: Generation | None = None
        self._writing: list[Generation] = []
        self._closed: str | None = None

    def submit(self, generation: Generation) -> None:
        """Queue a generation.

        Raises:
            Overloaded: too many wait already.
            Unavailable: `close` was called.
        """
        with self._lock:
            if self._closed is not None:
                raise Unavailable(self._closed)
            if len(self._waiting) >= self._limits.max_queue:
                raise Overloaded(f"{len(self._waiting)} requests wait for model {self._model!r}")
            self._waiting.append(generation)
        self._show_depth()

    def step(self) -> bool:
        """Run one iteration; return whether there is more to do."""
        self._forget_gone()
        self._admit()
        self._read_chunk()
        self._write_token()
        return bool(self._waiting or self._entering or self._writing)

    def close(self, reason: str) -> None:
        """End everything with `Unavailable`, now and later; no step may run any more."""
        with self._lock:
            self._closed = reason
            left = [*self._waiting, *self._writing]
            self._waiting.clear()
        if self._entering is not None:
            left.append(self._entering)
        for generation in left:
            generation.sink.end(Unavailable(reason))
        self._entering, self._writing = None, []

    def _forget_gone(self) -> None:
        with self._lock:
            staying = [generation for generation in self._waiting if not generation.is_gone()]
            self._waiting = deque(staying)
        if self._entering is not None and self._entering.is_gone():
            self._entering = None
        for index in reversed(range(len(self._writing))):
            if self._writing[index].is_gone():
                self._release(index)
        self._show_depth()

    def _admit(self) -> None:
        if self._entering is not None or len(self._writing) >= self._limits.slots:
            return
        with self._lock:
            self._entering = self._waiting.popleft() if self._waiting else None
        if self._entering is not None:
            waited = time.monotonic() - self._entering.arrived_at
            metrics.queue_seconds.labels(self._model).observe(waited)

    def _read_chunk(self) -> None:
        generation = self._entering
        if generation is None:
            return
        chunk = generation.prompt[generation.held : generation.held + self._limits.chunk]
        try:
            logits = self._steps.prefill(len(self._writing), chunk, generation.held)
        except ClawdbotError as exc:
            generation.sink.end(exc)
            self._entering = None
            return
        metrics.batch_tokens.labels(self._model).observe(len(chunk))
        generation.held += len(chunk)
        if generation.held == len(generation.prompt):
            self._begin(generation, logits)

    def _begin(self, generation: Generation, logits: NDArray[np.float32]) -> None:
        self._entering = None
        waited = time.monotonic() - generation.arrived_at
        metrics.first_token_seconds.labels(self._model).observe(waited)
        if self._continues(generation, logits):
            self._writing.append(generation)

    def _write_token(self) -> None:
        if not self._writing:
            return
        tokens = [generation.last for generation in self._writing]
        held = [generation.held for generation in self._writing]
        try:
            logits = self._steps.decode(tokens, held)
        except ClawdbotError as exc:
            self._abandon(exc)
            return
        metrics.batch_size.labels(self._model).observe(len(tokens))
        for index in reversed(range(len(tokens))):
            generation = self._writing[index]
            generation.held += 1
            if not self._continues(generation, logits[index]):
                self._release(index)

    def _continues(self, generation: Generation, logits: NDArray[np.float32]) -> bool:
        """Pick and hand over the next token; return whether another is to follow."""
        try:
            token = generation.sampler.pick(logits)
        except ClawdbotError as exc:
            generation.sink.end(exc)
            return False
        if token in self._stop_tokens:
            generation.sink.end()
            return False
        generation.sink.put(token)
        generation.last = token
        generation.count += 1
        if generation.count == generation.limit or generation.sampler.is_complete:
            generation.sink.end()
            return False
        return True

    def _release(self, index: int) -> None:
        last = len(self._writing) - 1
        moved = self._writing.pop()
        if index != last:
            self._steps.move(last, index, moved.held)
            self._writing[index] = moved
        if self._entering is not None and self._entering.held:
            self._steps.move(last + 1, last, self._entering.held)

    def _abandon(self, error: ClawdbotError) -> None:
        for generation in self._writing:
            generation.sink.end(error)
        self._writing = []
        # Its slot lay behind theirs; reading it again is simpler than moving it.
        if self._entering is not None:
            self._entering.held = 0

    def _show_depth(self) -> None:
        metrics.queue_depth.labels(self._model).set(len(self._waiting))
