"""An instruction: what may be run, with which arguments, and how they become a command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from clawdbot.executor.domain.capabilities import Guarantee
from clawdbot.executor.domain.profile import Profile
from clawdbot.schema.executor import Risk

JSON = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]
Arguments = Mapping[str, JSON]

LEADING_DASH = "x-leading-dash"
"""Schema keyword of ours: `true` lets this string start with `-`."""


class Confirm(StrEnum):
    """When a person is asked first, besides every instruction of risk 2 and 3."""

    NEVER = "never"
    ALWAYS = "always"


@dataclass(frozen=True)
class Literal:
    """A word that stands as it is."""

    word: str


@dataclass(frozen=True)
class Flag:
    """An option that is written when the boolean argument is true."""

    source: str
    option: str


@dataclass(frozen=True)
class Option:
    """An option with the argument as its value: `--name=value`, or `-n` and the value."""

    source: str
    option: str


@dataclass(frozen=True)
class Choice:
    """Words of ours, picked by the argument; nothing of the caller's text is written."""

    source: str
    words: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Positional:
    """The argument's text, or each item of its list; only ever after a literal `--`."""

    source: str


Part = Literal | Flag | Option | Choice | Positional


@dataclass(frozen=True)
class Sample:
    """Arguments that a test sends: rendered exactly so, or refused."""

    arguments: Arguments
    argv: tuple[str, ...] | None
    """Without the executable; None when the arguments must be refused."""


@dataclass(frozen=True)
class Instruction:
    """One entry of the instruction set, as read from its manifest."""

    id: str
    version: int
    manifest_sha256: str
    summary: Mapping[str, str]
    """By language: `en` and `zh`."""
    executable: str
    """Absolute path as the sandbox sees it."""
    executable_sha256: str | None
    """None when the host does not have it; the instruction is then refused."""
    schema: Mapping[str, object]
    """JSON Schema 2020-12 of the arguments."""
    template: tuple[Part, ...]
    profile: Profile
    risk: Risk
    confirm: Confirm
    requires: frozenset[Guarantee]
    samples: tuple[Sample, ...]

    @property
    def needs_approval(self) -> bool:
        """Whether a person must agree to each plan of it."""
        return self.confirm is Confirm.ALWAYS or self.risk >= Risk.NETWORK_OR_USER_DATA
