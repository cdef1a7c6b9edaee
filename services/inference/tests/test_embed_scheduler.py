from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clawdbot.inference.adapters.embed_scheduler import EmbedJob, EmbedScheduler
from clawdbot.inference.domain.batching import BatchLimits
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, DeadlineExceeded, Overloaded, Unavailable

Vectors = NDArray[np.float32]


@dataclass
class RecordingRuns:
    """A model whose vector of a row is its first token."""

    batches: list[int] = field(default_factory=list)
    failing: bool = False

    def run(self, rows: Sequence[Sequence[int]]) -> Vectors:
        if self.failing:
            raise Unavailable("out of memory")
        self.batches.append(len(rows))
        return np.array([[row[0]] for row in rows], np.float32)


@dataclass
class RecordingResult:
    vectors: list[Vectors] = field(default_factory=list)
    errors: list[ClawdbotError] = field(default_factory=list)
    calls: int = 0

    def done(self, vectors: list[Vectors]) -> None:
        self.vectors, self.calls = vectors, self.calls + 1

    def fail(self, error: ClawdbotError) -> None:
        self.errors.append(error)


def job(lengths: Sequence[int], deadline_s: float = 60) -> tuple[EmbedJob, RecordingResult]:
    result = RecordingResult()
    windows = [[index] * length for index, length in enumerate(lengths)]
    return EmbedJob(windows, Deadline.after(deadline_s), result), result


def scheduler(max_queue: int = 8) -> tuple[EmbedScheduler, RecordingRuns]:
    runs = RecordingRuns()
    return EmbedScheduler(runs, BatchLimits(), max_queue, "toy"), runs


@given(st.lists(st.lists(st.integers(1, 512), min_size=1, max_size=20), min_size=1, max_size=5))
def test_every_request_gets_its_vectors_in_its_order(requests: list[list[int]]) -> None:
    scheduling, _ = scheduler()
    made = [job(lengths) for lengths in requests]
    for one, _ in made:
        scheduling.submit(one)

    while scheduling.step():
        pass

    for (one, result), lengths in zip(made, requests, strict=True):
        assert [int(vector[0]) for vector in result.vectors] == list(range(len(lengths)))
        assert result.calls == 1
        assert not one.left


def test_one_text_does_not_wait_for_anothers_hundreds() -> None:
    scheduling, runs = scheduler()
    scheduling.submit(job([300] * 200)[0])
    scheduling.step()
    single, result = job([10])

    scheduling.submit(single)
    scheduling.step()
    scheduling.step()

    assert result.calls == 1
    assert len(runs.batches) == 3


def test_texts_of_several_requests_share_a_batch() -> None:
    scheduling, runs = scheduler()
    for _ in range(5):
        scheduling.submit(job([12])[0])

    scheduling.step()

    assert runs.batches == [5]


def test_abandoned_and_expired_requests_never_run() -> None:
    scheduling, runs = scheduler()
    (left, _), (late, late_result) = job([5]), job([5], deadline_s=-1)
    left.is_cancelled = True
    scheduling.submit(left)
    scheduling.submit(late)

    assert not scheduling.step()

    assert runs.batches == []
    assert isinstance(late_result.errors[0], DeadlineExceeded)


def test_full_queue_is_refused_at_once() -> None:
    scheduling, _ = scheduler(max_queue=1)
    scheduling.submit(job([5])[0])

    with pytest.raises(Overloaded):
        scheduling.submit(job([5])[0])


def test_failed_run_fails_its_requests_and_spares_the_rest() -> None:
    scheduling, runs = scheduler()
    (long, long_result), (short, short_result) = job([500]), job([5])
    scheduling.submit(short)
    scheduling.submit(long)

    runs.failing = True
    scheduling.step()
    runs.failing = False
    scheduling.step()

    assert isinstance(long_result.errors[0], Unavailable)
    assert short_result.calls == 1
    assert not scheduling.step()
