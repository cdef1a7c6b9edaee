"""What an rpc is: an address with the types of its request and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from clawdbot.schema import subjects
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Unauthenticated
from clawdbot.schema.principal import Principal
from clawdbot.schema.wire import Wire

Req = TypeVar("Req", bound=Wire)
Rep = TypeVar("Rep", bound=Wire)
Item = TypeVar("Item", bound=Wire)


@dataclass(frozen=True)
class Call:
    """What a handler knows of a request besides its body."""

    deadline: Deadline
    verified: Principal | None = None
    """On whose behalf, as verified from the signature; None where the rpc does not ask."""

    @property
    def principal(self) -> Principal:
        """The verified principal.

        Raises:
            Unauthenticated: the request carries none.
        """
        if self.verified is None:
            raise Unauthenticated("this call needs a principal")
        return self.verified


@dataclass(frozen=True)
class Rpc(Generic[Req, Rep]):
    """One request, one answer, over core NATS; the queue group is the service's name."""

    service: str
    verb: str
    request: type[Req]
    reply: type[Rep]
    needs_principal: bool = False
    """Whether the runtime verifies a signed principal before the handler sees the request."""

    def subject(self, target: str | None = None) -> str:
        """Return the address; `target` is the model or skill for services that have several."""
        return subjects.rpc(self.service, self.verb, target)


@dataclass(frozen=True)
class StreamRpc(Generic[Req, Item, Rep]):
    """One request, numbered items, one closing answer; the caller can cancel by leaving."""

    service: str
    verb: str
    request: type[Req]
    item: type[Item]
    reply: type[Rep]
    needs_principal: bool = False

    def subject(self, target: str | None = None) -> str:
        """Return the address; `target` is the model or skill for services that have several."""
        return subjects.rpc(self.service, self.verb, target)
