"""What this process knows of operations: those that run, and the results of the latest ones."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from clawdbot.executor.domain.operation_key import OperationKey
from clawdbot.schema.errors import ClawdbotError, Conflict, Unavailable
from clawdbot.schema.executor import RunReply

_ENTRY_BYTES = 1024
"""What an operation without output takes, roughly."""


class Operation:
    """One operation id with the one plan that it stands for."""

    def __init__(self, plan_hash: str) -> None:
        self.plan_hash = plan_hash
        self.reply: RunReply | None = None
        self.token = secrets.token_hex(8)
        """Tells this process's record of the intent from anybody else's."""
        self.is_announced = False
        """Whether the intent is in the audit log, written by this process."""
        self.is_concluded = False
        """Whether the end is in the audit log."""
        self._running: asyncio.Future[RunReply] | None = None

    @property
    def is_running(self) -> bool:
        """Whether an attempt is under way."""
        return self._running is not None

    @contextmanager
    def attempt(self) -> Iterator[asyncio.Future[RunReply]]:
        """Be running; whoever waits in `outcome` gets what the attempt sets, or its error."""
        self._running = attempt = asyncio.get_running_loop().create_future()
        try:
            yield attempt
        except BaseException as exc:
            known = isinstance(exc, ClawdbotError)
            attempt.set_exception(exc if known else Unavailable("the operation was interrupted"))
            # Nobody may be waiting, which is not a mistake.
            attempt.exception()
            raise
        finally:
            self._running = None

    async def outcome(self) -> RunReply:
        """Return what the running attempt comes to, without being able to disturb it."""
        if self._running is None:
            raise Unavailable("the operation is not running")
        return await asyncio.shield(self._running)

    @property
    def size_bytes(self) -> int:
        """What it occupies, roughly."""
        output = 0 if self.reply is None else len(self.reply.stdout) + len(self.reply.stderr)
        return _ENTRY_BYTES + output


class Operations:
    """The latest operations, within a budget of memory; the oldest results are dropped first.

    Args:
        budget_bytes: what all of them may occupy.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget_bytes = budget_bytes
        self._kept: OrderedDict[OperationKey, Operation] = OrderedDict()

    def find(self, key: OperationKey) -> Operation | None:
        """Return the operation, or None when this process does not know it."""
        return self._kept.get(key)

    def claim(self, key: OperationKey, plan_hash: str) -> Operation:
        """Return the operation of `key`, new when it is not known.

        Raises:
            Conflict: the id stands for another plan.
        """
        operation = self._kept.setdefault(key, Operation(plan_hash))
        if operation.plan_hash != plan_hash:
            raise Conflict("the operation id belongs to another plan", field="operation_id")
        self._kept.move_to_end(key)
        self._trim()
        return operation

    def _trim(self) -> None:
        excess = sum(operation.size_bytes for operation in self._kept.values()) - self._budget_bytes
        # The newest was just claimed and stays, whatever its size.
        for key, operation in list(self._kept.items())[:-1]:
            if excess <= 0:
                return
            if not operation.is_running:
                excess -= operation.size_bytes
                del self._kept[key]
