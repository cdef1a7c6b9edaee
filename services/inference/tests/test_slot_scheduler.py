from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clawdbot.inference.adapters.slot_scheduler import Generation, SlotLimits, SlotScheduler
from clawdbot.inference.domain.guided_sampling import GuidedSampler
from clawdbot.inference.domain.sampling import Sampler, Sampling
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import (
    ClawdbotError,
    DeadlineExceeded,
    InvalidMessage,
    Overloaded,
    Unavailable,
)

VOCABULARY = 97
STOP = 0


def following(tokens: Sequence[int]) -> int:
    """What the fake model says after `tokens`: depends on each of them and their order."""
    value = 1
    for token in tokens:
        value = (value * 31 + token + 7) % 1_000_003
    return value % VOCABULARY


class RecordingSteps:
    """A model whose cache holds the tokens themselves, so that mixed-up slots show."""

    def __init__(self, slots: int) -> None:
        self.slots: list[list[int]] = [[] for _ in range(slots)]
        self.rows: list[int] = []
        self.failing = False

    def prefill(self, slot: int, tokens: Sequence[int], held: int) -> NDArray[np.float32]:
        self.slots[slot] = [*self.slots[slot][:held], *tokens]
        return self._logits(slot)

    def decode(self, tokens: Sequence[int], held: Sequence[int]) -> NDArray[np.float32]:
        if self.failing:
            raise Unavailable("out of memory")
        self.rows.append(len(tokens))
        for slot, (token, length) in enumerate(zip(tokens, held, strict=True)):
            self.slots[slot] = [*self.slots[slot][:length], token]
        return np.stack([self._logits(slot) for slot in range(len(tokens))])

    def move(self, source: int, target: int, length: int) -> None:
        self.slots[target] = self.slots[source][:length]
        self.slots[source] = []

    def _logits(self, slot: int) -> NDArray[np.float32]:
        logits = np.zeros(VOCABULARY, np.float32)
        logits[following(self.slots[slot])] = 1
        return logits


@dataclass
class RecordingSink:
    tokens: list[int] = field(default_factory=list)
    ends: list[ClawdbotError | None] = field(default_factory=list)

    def put(self, token: int) -> None:
        self.tokens.append(token)

    def end(self, error: ClawdbotError | None = None) -> None:
        self.ends.append(error)


def alone(prompt: Sequence[int], limit: int) -> list[int]:
    tokens = list(prompt)
    while len(tokens) < len(prompt) + limit and (token := following(tokens)) != STOP:
        tokens.append(token)
    return tokens[len(prompt) :]


def generation(
    prompt: Sequence[int], limit: int = 12, deadline_s: float = 60
) -> tuple[Generation, RecordingSink]:
    sink = RecordingSink()
    deadline = Deadline.after(deadline_s)
    return Generation(prompt, Sampler(Sampling()), limit, deadline, sink), sink


def scheduler(slots: int = 3, max_queue: int = 8) -> tuple[SlotScheduler, RecordingSteps]:
    steps = RecordingSteps(slots)
    limits = SlotLimits(slots=slots, max_queue=max_queue, chunk=4)
    return SlotScheduler(steps, limits, frozenset({STOP}), "toy"), steps


def long_prompt() -> list[int]:
    """A prompt whose answer does not end before 40 tokens."""
    return next([n] for n in range(1, 1000) if len(alone([n], 40)) == 40)


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(1, 90), min_size=1, max_size=14),  # prompt
            st.integers(1, 15),  # limit
            st.integers(0, 20),  # iteration of arrival
            st.none() | st.integers(0, 25),  # iteration of leaving
        ),
        min_size=1,
        max_size=8,
    )
)
def test_every_answer_is_the_one_it_would_be_alone(
    plans: list[tuple[list[int], int, int, int | None]],
) -> None:
    scheduling, _ = scheduler()
    made = [generation(prompt, limit) for prompt, limit, _, _ in plans]

    for iteration in range(26):
        for (one, _), (_, _, arrives, leaves) in zip(made, plans, strict=True):
            if arrives == iteration:
                scheduling.submit(one)
            one.is_cancelled = one.is_cancelled or leaves == iteration
        scheduling.step()
    while scheduling.step():
        pass

    for (one, sink), (prompt, limit, _, _) in zip(made, plans, strict=True):
        expected = alone(prompt, limit)
        if one.is_cancelled:
            assert sink.tokens == expected[: len(sink.tokens)]
        else:
            assert (sink.tokens, sink.ends) == (expected, [None])


def test_newcomer_gets_its_first_token_while_another_is_written() -> None:
    scheduling, steps = scheduler()
    (running, running_sink), (late, late_sink) = generation(long_prompt(), 40), generation([5, 6])
    scheduling.submit(running)
    for _ in range(5):
        scheduling.step()

    scheduling.submit(late)
    scheduling.step()

    assert late_sink.tokens
    assert not running_sink.ends
    assert steps.rows[-1] == 2


def test_long_prompt_delays_the_others_by_one_chunk_at_most() -> None:
    scheduling, _ = scheduler()
    (running, sink), (reading, reading_sink) = generation(long_prompt(), 40), generation([3] * 40)
    scheduling.submit(running)
    scheduling.step()
    scheduling.submit(reading)

    before = len(sink.tokens)
    for _ in range(9):
        scheduling.step()

    assert len(sink.tokens) == before + 9
    assert not reading_sink.tokens


def test_cancelled_answer_frees_its_slot_within_one_step() -> None:
    scheduling, _ = scheduler(slots=1)
    (first, _), (second, second_sink) = generation(long_prompt(), 40), generation([5])
    scheduling.submit(first)
    scheduling.submit(second)
    scheduling.step()
    assert not second_sink.tokens

    first.is_cancelled = True
    scheduling.step()

    assert second_sink.tokens


def test_expired_request_never_runs() -> None:
    scheduling, steps = scheduler()
    late, sink = generation([1, 2], deadline_s=-1)
    scheduling.submit(late)

    assert not scheduling.step()

    assert isinstance(sink.ends[0], DeadlineExceeded)
    assert not any(steps.slots)


def test_full_queue_is_refused_at_once() -> None:
    scheduling, _ = scheduler(max_queue=2)
    scheduling.submit(generation([1])[0])
    scheduling.submit(generation([1])[0])

    with pytest.raises(Overloaded) as refused:
        scheduling.submit(generation([1])[0])

    assert refused.value.retry_after_s > 0


def test_failed_step_fails_its_answers_and_spares_who_waits() -> None:
    scheduling, steps = scheduler(slots=1)
    (first, first_sink), (second, second_sink) = generation(long_prompt(), 40), generation([5])
    scheduling.submit(first)
    scheduling.submit(second)
    scheduling.step()

    steps.failing = True
    scheduling.step()
    steps.failing = False
    while scheduling.step():
        pass

    assert isinstance(first_sink.ends[0], Unavailable)
    assert second_sink.tokens == alone([5], 12)


def test_failed_step_does_not_spoil_a_prompt_that_is_being_read() -> None:
    scheduling, steps = scheduler(slots=2)
    (first, _), (second, second_sink) = generation(long_prompt(), 40), generation([3] * 10)
    scheduling.submit(first)
    scheduling.step()
    scheduling.submit(second)
    scheduling.step()

    steps.failing = True
    scheduling.step()
    steps.failing = False
    while scheduling.step():
        pass

    assert second_sink.tokens == alone([3] * 10, 12)


def test_stopping_tells_everyone() -> None:
    scheduling, _ = scheduler(slots=1)
    made = [generation(long_prompt(), 40) for _ in range(3)]
    for one, _ in made:
        scheduling.submit(one)
    scheduling.step()

    scheduling.close("stopping")

    assert all(isinstance(sink.ends[0], Unavailable) for _, sink in made)
    with pytest.raises(Unavailable, match="stopping"):
        scheduling.submit(generation([1])[0])


class CountingGuide:
    """Lets every token but the likely ones through, for a while; then is over, or fails."""

    def __init__(self, length: int, failure: ClawdbotError | None = None) -> None:
        self.left = length
        self.failure = failure

    @property
    def is_over(self) -> bool:
        return self.left == 0 and self.failure is None

    def allowed(self) -> NDArray[np.bool_]:
        if self.left == 0 and self.failure is not None:
            raise self.failure
        return np.arange(VOCABULARY) == 42

    def take(self, token: int) -> None:
        self.left -= 1


@pytest.mark.parametrize(
    "failure", [None, InvalidMessage("too complex")], ids=["is over", "cannot go on"]
)
def test_a_guided_answer_ends_with_its_guide_and_disturbs_no_other(
    failure: ClawdbotError | None,
) -> None:
    model, _ = scheduler()
    (guided, guided_sink), (free, free_sink) = generation([5]), generation(long_prompt(), 30)
    guided.sampler = GuidedSampler(Sampling(), CountingGuide(3, failure))
    model.submit(guided)
    model.submit(free)

    while model.step():
        continue

    assert guided_sink.tokens == [42, 42, 42]
    assert guided_sink.ends == [failure]
    assert free_sink.tokens == alone(long_prompt(), 30)
