"""Recording fakes of what sends replies and remembers how far they are sent, for tests."""

from __future__ import annotations

from clawdbot.gateway.domain.deliveries import Noted, SendTraits
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.deliveries import ReplyDelivery
from clawdbot.schema.errors import ClawdbotError


class RecordingSender:
    """Notes what would be sent.

    Attributes:
        sent: the parts, in order.
        edited: what was edited, as (id, text).
        typed: how often typing was shown.
        failures: what the next calls of `send` raise; None lets one pass.
        expected: what `traits` says of every part.
    """

    def __init__(self, expected: SendTraits | None = None) -> None:
        self.sent: list[ReplyPart] = []
        self.edited: list[tuple[str, str]] = []
        self.typed = 0
        self.failures: list[ClawdbotError | None] = []
        self.expected = expected or SendTraits(shows_once=True)

    def traits(self, part: ReplyPart) -> SendTraits:  # noqa: ARG002 -- the same for all
        """Return what the test expects."""
        return self.expected

    async def send(self, part: ReplyPart, *, deadline: Deadline) -> str | None:
        """Note it."""
        deadline.require()
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        self.sent.append(part)
        return str(len(self.sent))

    async def edit(self, sent_id: str, part: ReplyPart, *, deadline: Deadline) -> None:
        """Note it."""
        deadline.require()
        self.edited.append((sent_id, part.text))

    async def show_typing(self, part: ReplyPart, *, deadline: Deadline) -> None:  # noqa: ARG002 -- counts
        """Count it."""
        deadline.require()
        self.typed += 1


class InMemoryDeliveryRecords:
    """Keeps records in a dict.

    Attributes:
        kept: by key.
        writes: how many there were.
        failure: raised by every call while it is set.
    """

    def __init__(self) -> None:
        self.kept: dict[str, Noted] = {}
        self.writes = 0
        self.failure: ClawdbotError | None = None

    async def read(self, key: str, *, deadline: Deadline) -> Noted | None:
        """Look it up."""
        deadline.require()
        if self.failure is not None:
            raise self.failure
        return self.kept.get(key)

    async def write(
        self, key: str, value: ReplyDelivery, revision: int, *, deadline: Deadline
    ) -> int | None:
        """Replace it if it is at `revision`."""
        deadline.require()
        if self.failure is not None:
            raise self.failure
        found = self.kept.get(key)
        if (found.revision if found else 0) != revision:
            return None
        self.writes += 1
        self.kept[key] = Noted(value, self.writes)
        return self.writes
