"""Embeds the windows of all waiting requests, in batches of like length.

Whatever waits is taken at once: nobody waits for a batch to fill. Requests take turns, so one text
asked for in between does not wait for somebody's hundreds.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clawdbot.inference.adapters import metrics
from clawdbot.inference.domain.batching import BatchLimits, next_batch
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import ClawdbotError, DeadlineExceeded, Overloaded, Unavailable

LOOKAHEAD = 256
"""Windows among which the next batch is chosen; keeps choosing cheaper than running."""

Vectors = NDArray[np.float32]


class Runs(Protocol):
    """What the scheduler needs of a model; see `EmbedGraph`."""

    def run(self, rows: Sequence[Sequence[int]]) -> Vectors:
        """Return one vector per row."""


class Result(Protocol):
    """Where a request's vectors go."""

    def done(self, vectors: list[Vectors]) -> None:
        """Take the vectors, one per window."""

    def fail(self, error: ClawdbotError) -> None:
        """Take note that there will be none."""


@dataclass(eq=False)
class EmbedJob:
    """One request: all its windows, and the vectors that are there already."""

    windows: Sequence[Sequence[int]]
    deadline: Deadline
    result: Result
    is_cancelled: bool = False
    """Set by whoever no longer waits; seen before the next run."""
    arrived_at: float = field(default_factory=time.monotonic)
    vectors: dict[int, Vectors] = field(default_factory=dict)
    left: list[int] = field(init=False)
    """Windows still to run, shortest first, so that neighbours have like lengths."""

    def __post_init__(self) -> None:
        """Sort the windows."""
        self.left = sorted(range(len(self.windows)), key=lambda index: len(self.windows[index]))

    def is_gone(self) -> bool:
        """Tell whether nobody wants it any more, after telling them so when it expired."""
        if self.is_cancelled:
            return True
        if self.deadline.remaining_s() > 0:
            return False
        self.result.fail(DeadlineExceeded("the deadline passed before the texts were embedded"))
        return True


class EmbedScheduler:
    """Decides what runs next. `submit` is for any thread, the rest for one."""

    def __init__(self, runs: Runs, limits: BatchLimits, max_queue: int, model: str) -> None:
        self._runs = runs
        self._limits = limits
        self._max_queue = max_queue
        self._model = model
        self._lock = threading.Lock()
        self._jobs: deque[EmbedJob] = deque()
        self._closed: str | None = None

    def submit(self, job: EmbedJob) -> None:
        """Queue a request.

        Raises:
            Overloaded: too many wait already.
            Unavailable: `close` was called.
        """
        with self._lock:
            if self._closed is not None:
                raise Unavailable(self._closed)
            if len(self._jobs) >= self._max_queue:
                raise Overloaded(f"{len(self._jobs)} requests wait for model {self._model!r}")
            self._jobs.append(job)
            metrics.queue_depth.labels(self._model).set(len(self._jobs))

    def step(self) -> bool:
        """Run one batch; return whether there is more to do."""
        candidates = self._candidates()
        if not candidates:
            return False
        lengths = [len(job.windows[index]) for job, index in candidates]
        chosen = [candidates[at] for at in next_batch(lengths, 0, self._limits)]
        self._run(chosen)
        return True

    def close(self, reason: str) -> None:
        """End everything with `Unavailable`, now and later; no step may run any more."""
        with self._lock:
            self._closed = reason
            for job in self._jobs:
                job.result.fail(Unavailable(reason))
            self._jobs.clear()

    def _candidates(self) -> list[tuple[EmbedJob, int]]:
        """Return the next windows to choose from; the first belongs to whose turn it is."""
        with self._lock:
            self._jobs = deque(job for job in self._jobs if not job.is_gone())
            self._jobs.rotate(-1)
            jobs = list(self._jobs)
            metrics.queue_depth.labels(self._model).set(len(jobs))
        every = chain.from_iterable(((job, index) for index in job.left) for job in jobs)
        return list(islice(every, LOOKAHEAD))

    def _run(self, chosen: list[tuple[EmbedJob, int]]) -> None:
        self._measure(chosen)
        try:
            vectors = self._runs.run([job.windows[index] for job, index in chosen])
        except ClawdbotError as exc:
            self._abandon({job for job, _ in chosen}, exc)
            return
        for (job, index), vector in zip(chosen, vectors, strict=True):
            job.vectors[index] = vector
            job.left.remove(index)
        self._deliver({job for job, _ in chosen})

    def _deliver(self, jobs: set[EmbedJob]) -> None:
        complete = {job for job in jobs if not job.left}
        for job in complete:
            job.result.done([job.vectors[index] for index in range(len(job.windows))])
        self._forget(complete)

    def _abandon(self, jobs: set[EmbedJob], error: ClawdbotError) -> None:
        for job in jobs:
            job.result.fail(error)
        self._forget(jobs)

    def _forget(self, jobs: set[EmbedJob]) -> None:
        with self._lock:
            self._jobs = deque(job for job in self._jobs if job not in jobs)
            metrics.queue_depth.labels(self._model).set(len(self._jobs))

    def _measure(self, chosen: list[tuple[EmbedJob, int]]) -> None:
        lengths = [len(job.windows[index]) for job, index in chosen]
        padded = len(lengths) * max(lengths)
        metrics.batch_size.labels(self._model).observe(len(lengths))
        metrics.batch_tokens.labels(self._model).observe(padded)
        metrics.padding_ratio.labels(self._model).observe(padded / sum(lengths))
        for job in {job for job, _ in chosen if not job.vectors}:
            waited = time.monotonic() - job.arrived_at
            metrics.queue_seconds.labels(self._model).observe(waited)
