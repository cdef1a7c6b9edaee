"""Secrets of an account: several at a time while one takes over from another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from clawdbot.runtime.config import ConfigError
from clawdbot.runtime.secrets import Secrets


@dataclass(frozen=True)
class SecretRule:
    """A secret that an account has: `<platform>_<account>_<what>`."""

    what: str
    min_bytes: int = 16
    is_required: bool = True
    only_for: Literal["webhook", "socket"] | None = None
    """The one way in that takes it; accounts with the other one have no such secret."""


class Keys:
    """Values of one secret, shown nowhere.

    Args:
        values: at least one; the first is used for what we send or sign, any of them is believed.
    """

    def __init__(self, *values: bytes) -> None:
        if not values:
            raise ValueError("there is no key")
        self._values = values

    @property
    def first(self) -> bytes:
        """What we send or sign with."""
        return self._values[0]

    @property
    def text(self) -> str:
        """`first` as ASCII text, such as a bot's token.

        Raises:
            ValueError: it is not ASCII.
        """
        if not self.first.isascii():
            raise ValueError("a secret that is sent as text is not ASCII")
        return self.first.decode("ascii")

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._values)

    def __repr__(self) -> str:
        return f"Keys({len(self._values)} secret)"


def read_keys(secrets: Secrets, name: str, rule: SecretRule) -> Keys | None:
    """Return the values of the secret `name`, one a line; None when it may be missing and is.

    Raises:
        ConfigError: it is missing or blank though required, or one line is too short.
    """
    try:
        lines = secrets.read(name).splitlines()
    except ConfigError:
        if rule.is_required:
            raise
        return None
    values = [line.strip() for line in lines if line.strip()]
    if any(len(value) < rule.min_bytes for value in values):
        raise ConfigError(f"the secret {name!r} needs at least {rule.min_bytes} bytes in each line")
    return Keys(*values)
