"""What a chat platform's adapter is: pure and synchronous towards us, asynchronous outwards.

Reading the body, limits, dedupe, publishing and errors are the core's; no adapter can skip them.
The core calls, in this order: `admit` (headers only), `verify` (exact bytes), `read`. Whatever
`read` returned is published, and then answered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import httpx
from pydantic import BaseModel, ConfigDict

from clawdbot.gateway.adapters.guarded_http import FileRequest
from clawdbot.gateway.adapters.platforms.keys import Keys, SecretRule
from clawdbot.gateway.adapters.platforms.requests import HTTPAnswer, RawRequest, Verified
from clawdbot.gateway.domain.deliveries import SendTraits
from clawdbot.gateway.domain.messages import ReplyPart
from clawdbot.gateway.domain.senders import SenderRule
from clawdbot.gateway.domain.splitting import TextLimit
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.ids import Channel, Tenant
from clawdbot.schema.messages import Attachment

GROUP = "clawdbot.gateway.platforms"
"""Entry points of this group are `Platform` objects; their names are the platforms'."""

Address = Mapping[str, Any]
"""Where a reply goes, in the adapter's own words; values are what MessagePack can hold."""


@dataclass(frozen=True)
class PlatformMessage:
    """What one person said, as the platform tells it."""

    event_id: str
    """Signed, the same at every redelivery, and another one for every other message."""
    sender_id: str
    content: str
    place: tuple[str, ...]
    """What makes the conversation, in the platform's ids: channel, and thread if there is one."""
    timestamp: int | None = None
    """Unix seconds by the platform's clock; None means now."""
    attachments: tuple[Attachment, ...] = ()
    """URLs never hold a token of ours."""
    thread_id: str | None = None
    address: Address = field(default_factory=dict)
    holds_token: bool = False
    """Whether `address` holds a token: then it is encrypted on its way through the stack."""
    in_group: bool = False
    """Whether others than the sender read the reply: strangers are told no code there."""


@dataclass(frozen=True)
class Received:
    """What a verified request means."""

    messages: tuple[PlatformMessage, ...] = ()
    """None for handshakes, events that we do not handle, and what bots or we ourselves said."""
    answer: HTTPAnswer = field(default_factory=HTTPAnswer)
    """Sent once all messages are kept, also when they were kept before."""
    on_failure: HTTPAnswer | None = None
    """Sent when they could not be kept; None asks the platform to try again (503)."""
    on_refusal: HTTPAnswer | None = None
    """Sent when their senders are not let in; None is `answer`, so that they notice nothing."""
    follow_up: Address | None = None
    """What `FollowsUp.follow_up` is to do once the messages are kept, such as joining a room."""


@dataclass(frozen=True)
class Limits:
    """What the platform takes and how long it waits."""

    text: TextLimit
    body_bytes: int = 1_048_576
    """Longest request body; lower it to 65,536 where the platform stays below."""
    ack_s: float = 2.0
    """Time to have the messages kept, below the platform's own deadline for the answer."""


@dataclass(frozen=True)
class Capabilities:
    """What the core may ask for; an instance may differ from another by its settings."""

    replies: bool = True
    """Whether `send` works; without it replies are stored and nobody takes them."""
    edits: bool = False
    """Whether the adapter is `Editing` too."""
    edit_every_s: float = 2.0
    """Least time between two edits of a message that the platform likes."""
    typing: bool = False
    """Whether the adapter is `ShowsTyping` too."""
    typing_s: float = 5.0
    """How long the platform shows it."""
    buttons: bool = False
    """Whether approvals can be answered by a press (see `buttons`); by word they always can."""
    files: bool = False
    """Whether `send` takes a reply's attachments; without it their addresses stand in its text."""


class PlatformAdapter(Protocol):
    """Speaks with one account of a platform. All state it may have is that of its API client."""

    methods: frozenset[str]
    """HTTP methods that the platform uses; others get 405."""
    limits: Limits
    capabilities: Capabilities
    unreadable: HTTPAnswer | None
    """Answer to authentic bytes that `read` refuses; None tells the sender with 400 or 422."""

    def admit(self, request: RawRequest) -> None:
        """Pass when `request`, whose body is still empty, has each header that `verify` needs once.

        A secret that is a header itself is compared here already.

        Raises:
            Unauthenticated: it does not.
        """
        ...

    def verify(self, request: RawRequest, now: float) -> Verified:
        """Return the payload of an authentic request, decrypted.

        Args:
            request: with the exact bytes of the body.
            now: Unix seconds; what is signed must be near it, before and after.

        Raises:
            Unauthenticated: forged, stale or from the future.
        """
        ...

    def read(self, verified: Verified) -> Received:
        """Return what the request means; pure.

        Raises:
            BadPayload: no JSON, or whatever the platform speaks.
            InvalidMessage: a field that we need is missing or wrong.
        """
        ...

    async def send(self, part: ReplyPart, address: Address, *, deadline: Deadline) -> str | None:
        """Send one part of a reply within `limits.text`; return the platform's id of it.

        Raises:
            AnswerLost: it may show; `PlatformAPI` says so.
            Overloaded: not before `retry_after_s`.
            Unavailable: it may work later.
            Rejected: it never will: blocked, gone, not allowed.
        """
        ...


class Keyed(Protocol):
    """An adapter that can promise something of a send; without it nothing is promised."""

    def traits(self, part: ReplyPart, address: Address) -> SendTraits:
        """Return what may be expected of sending `part` to `address`."""
        ...


class Editing(Protocol):
    """An adapter that can rewrite what it sent."""

    async def edit(
        self, sent_id: str, part: ReplyPart, address: Address, *, deadline: Deadline
    ) -> None:
        """Make what `send` returned `sent_id` for what `part` is; raises as `send`.

        The same content once more is no error.
        """
        ...


class ShowsTyping(Protocol):
    """An adapter that can show that an answer is being written."""

    async def show_typing(self, address: Address, *, deadline: Deadline) -> None:
        """Show it for some seconds; raises as `send`."""
        ...


@runtime_checkable
class ServesBelow(Protocol):
    """An adapter whose platform appends paths of its own to the account's address."""

    subpaths: tuple[str, ...]
    """Such as `/transactions/{id}`: what begins with a slash, as routes are written; requests to
    them come as all others do, told apart by `RawRequest.url`."""


@runtime_checkable
class LooksUpKeys(Protocol):
    """An adapter whose platform signs with keys that it publishes."""

    async def look_up(self, request: RawRequest) -> None:
        """Have at hand what `verify` needs for `request`, whose body is still empty.

        Asked after `admit`, for whoever sends: what is fetched is bounded, and kept.

        Raises:
            Unauthenticated: it cannot be authentic.
            Unavailable: nothing could be fetched yet.
        """
        ...


@runtime_checkable
class FollowsUp(Protocol):
    """An adapter that has something to do at the platform before it answers a request."""

    async def follow_up(self, what: Address, *, deadline: Deadline) -> None:
        """Do what `read` asked for; raises as `send`, which is logged and changes no answer."""
        ...


@runtime_checkable
class LocatesFiles(Protocol):
    """An adapter whose messages name files by ids, or behind a token; others give plain URLs."""

    async def locate(
        self, attachment: Attachment, address: Address, *, deadline: Deadline
    ) -> FileRequest:
        """Return where the file is and what to show there; the core fetches it, through its guard.

        Args:
            attachment: as this adapter made it.
            address: that came with its message.
            deadline: for asking the platform.

        Raises:
            Rejected: the platform does not give it to us, or not any more.
            Retryable: it may work later.
        """
        ...


@dataclass(frozen=True)
class Event:
    """What a platform says over a connection that we opened."""

    payload: bytes = field(repr=False)
    """What `read` takes: the body that the platform's webhook would have had."""
    acknowledge: Callable[[HTTPAnswer], Awaitable[None]]
    """Tells the platform that all is kept, and what it would have been answered."""
    refuse: Callable[[], Awaitable[None]]
    """Goes on without it: it is over a limit. A platform that sends again on its own may do so."""


@runtime_checkable
class Connects(Protocol):
    """An adapter that can ask the platform for its events instead of being called.

    `verify` and `admit` are not asked then: whom we connected to is who speaks.
    """

    def connect(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Be connected while the context lasts; inside, yield events in the platform's order.

        Entered once the platform has taken us. The next event is asked for after the one before
        was acknowledged or refused, and what was neither comes again, over this or a later
        connection. The adapter notices when the other side has fallen silent; the iterator ends
        when the platform ends the connection in peace. Leaving takes no acknowledgement back.

        Raises:
            Overloaded: not before `retry_after_s`.
            Unavailable: it may work later.
            Rejected: it never will until somebody does something: a revoked token.
        """
        ...


class AccountSettings(BaseModel):
    """Keys of an account in `config.yaml`, beside `tenant`; no secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    live_replies: bool = True
    """Whether people see typing and a growing draft, where the platform can show it."""


S = TypeVar("S", bound=AccountSettings)


@dataclass(frozen=True)
class Account(Generic[S]):
    """One account of a platform, as configured."""

    platform: str
    name: str
    tenant: Tenant
    channel: Channel
    url: str
    """Where the platform reaches us, from `app.public_url` alone; "" when that is not set."""
    settings: S
    keys: Mapping[str, Keys]
    """By the `what` of each rule; optional ones that are not there are left out."""
    rule: SenderRule = SenderRule.PAIRING
    allowed: frozenset[str] = frozenset()
    may_link: bool = False
    """Who is let in, and whether they can be linked; none of the adapter's business."""
    connects: bool = False
    """Whether we connect to the platform; then there is no webhook, nor its secrets."""


@dataclass(frozen=True)
class Platform(Generic[S]):
    """What an entry point names."""

    settings: type[S]
    build: Callable[[Account[S], httpx.AsyncClient], PlatformAdapter]
    """Makes the adapter. The client is the account's own, follows no redirects and is closed by
    the core. Raises ValueError, whose message holds no secret, for what cannot work."""
    secrets: tuple[SecretRule, ...]
    vouches_for_senders: bool = False
    """Whether whoever signs is a program of the operator's own, which lets in whom it wants: then
    everybody is let in where the configuration says nothing, instead of those who are paired."""
    connects: bool = False
    """Whether its adapters are `Connects`."""
