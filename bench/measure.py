"""Interleaving of measurements, and what may be concluded from them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import TypeVar

MAX_VARIATION = 0.15
"""A baseline that strays further from its own median says more about the machine than about us."""

T = TypeVar("T")


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int = 5
    share: float = 1.0
    """Of each round's full count."""

    def count(self, full: int) -> int:
        """Return how many repetitions stand for `full` ones."""
        return max(1, round(full * self.share))


@dataclass(frozen=True)
class Target:
    """The bound that a ratio is held to."""

    bound: float
    is_floor: bool = True
    """Whether the ratio must reach the bound; otherwise it must stay below it."""

    def is_met(self, ratio: float) -> bool:
        """Return whether `ratio` is on the right side of the bound, or on it."""
        return ratio >= self.bound if self.is_floor else ratio <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.is_floor else '<='} {self.bound:.2f}"


class Verdict(StrEnum):
    """What may be said of a ratio."""

    OK = "ok"
    BELOW = "below"
    """The target is missed."""
    NOISY = "noisy"
    """The baseline varies too much to judge."""
    SHOWN = "-"
    """There is no target."""


@dataclass(frozen=True)
class Comparison:
    """Ours against a baseline, one figure per round each, all positive."""

    name: str
    unit: str
    ours: Sequence[float]
    bare: Sequence[float]
    target: Target | None = None

    def __post_init__(self) -> None:
        if not self.ours or len(self.ours) != len(self.bare):
            raise ValueError(f"{self.name}: {len(self.ours)} rounds against {len(self.bare)}")
        if min(*self.ours, *self.bare) <= 0:
            raise ValueError(f"{self.name}: a figure is not positive")

    @property
    def ratio(self) -> float:
        """Median of ours over median of the baseline."""
        return median(self.ours) / median(self.bare)

    @property
    def spread(self) -> tuple[float, float]:
        """Smallest and largest ratio of one round; `ratio` lies between them."""
        ratios = [ours / bare for ours, bare in zip(self.ours, self.bare, strict=True)]
        return min(ratios), max(ratios)

    @property
    def variation(self) -> float:
        """How far the baseline strays from its own median, as a share of it."""
        middle = median(self.bare)
        return max(abs(value - middle) for value in self.bare) / middle

    @property
    def verdict(self) -> Verdict:
        """What may be said of the ratio."""
        if self.variation > MAX_VARIATION:
            return Verdict.NOISY
        if self.target is None:
            return Verdict.SHOWN
        return Verdict.OK if self.target.is_met(self.ratio) else Verdict.BELOW


async def interleaved(rounds: int, *measures: Callable[[], Awaitable[T]]) -> list[list[T]]:
    """Return each measure's results; a first round of all of them only warms up.

    A, B, A, B: what changes on the machine meanwhile meets all of them alike.
    """
    for measure in measures:
        await measure()
    results: list[list[T]] = [[] for _ in measures]
    for _ in range(rounds):
        for measure, found in zip(measures, results, strict=True):
            found.append(await measure())
    return results


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest of `values` that at least `share` of them do not exceed."""
    ordered = sorted(values)
    # Rounded first: 0.99 * 100 is a little above 99.
    rank = -int(-round(share * len(ordered), 9) // 1)
    return ordered[max(rank, 1) - 1]
