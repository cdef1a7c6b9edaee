"""The base of everything that crosses the bus."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Wire(BaseModel):
    """A frozen message with a name and a major version.

    Unknown fields are ignored and missing optional ones take their default, so that services one
    version apart understand each other. A change that breaks this rule takes a new major version.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    SCHEMA: ClassVar[str]
    """`name/major`, sent in the `Claw-Schema` header."""
