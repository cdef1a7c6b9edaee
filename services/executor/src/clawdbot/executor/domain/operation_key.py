"""By what an operation is known."""

from __future__ import annotations

from typing import NamedTuple


class OperationKey(NamedTuple):
    """Whose operation it is: another user's id never meets yours."""

    tenant: str
    user: str
    operation_id: str
