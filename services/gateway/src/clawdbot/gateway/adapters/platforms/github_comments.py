"""Comments on GitHub: which of them speak to us, and what they say.

Whoever comments on a public repository is a stranger with a keyboard, and most comments are for
other people. So a comment counts when it mentions us outside code and quotations, begins with
`/clawdbot`, or is nothing but the answer to an approval.

Sources (docs.github.com): "Webhook events and payloads" (`issue_comment`,
`pull_request_review_comment`), "Basic writing and formatting syntax" (mentions, quoting).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator, Field, Strict

from clawdbot.gateway.adapters.fields import Body, read_fields, storable
from clawdbot.gateway.adapters.platforms.buttons import is_ours

CREATED = "created"
BOT = "Bot"
COMMAND = "/clawdbot"
_SILENT = re.compile(
    r"(```|~~~).*?(?:\1|\Z)|`[^`\n]*`|^ {0,3}>[^\n]*|<!--.*?(?:-->|\Z)", re.DOTALL | re.MULTILINE
)
"""Code, quotations, hidden remarks: GitHub tells nobody whom they mention."""
_CODE = re.compile(r"```.*?(?:```|\Z)|(?<![`\\])`[^`\n]+`", re.DOTALL)
_MENTION = re.compile(r"@(?=[A-Za-z0-9])")

Text = Annotated[str, BeforeValidator(storable)]
"""Longer than a message may be, perhaps: whether it speaks to us is asked first."""
Id = Annotated[int, Field(ge=0, le=2**63)]


class User(Body):
    """Who commented."""

    id: Id
    login: str
    type: str = "User"


class Comment(Body):
    """A comment; of a deleted account without a user."""

    id: Id
    body: Text | None = None
    user: User | None = None
    created_at: Annotated[AwareDatetime, Strict(False)]
    in_reply_to_id: Id | None = None
    """Of a review's comment: the one that began its thread."""


class Discussed(Body):
    """The issue or pull request that a comment is on."""

    number: Annotated[int, Field(ge=1, le=2**53)]


class Repository(Body):
    """Where that is."""

    id: Id
    full_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}/[A-Za-z0-9_.-]{1,100}$")]


class Commented(Body):
    """What GitHub tells of a new comment; the fields say which kind, as no header is signed."""

    comment: Comment
    repository: Repository
    issue: Discussed | None = None
    pull_request: Discussed | None = None

    @property
    def number(self) -> int:
        """Of the issue or pull request."""
        found = self.issue or self.pull_request
        return 0 if found is None else found.number

    @property
    def thread(self) -> int:
        """The id of the comment that began a review's thread; 0 outside of reviews."""
        return 0 if self.issue else self.comment.in_reply_to_id or self.comment.id


class Event(Body):
    """As much of a payload as tells whether it is a new comment."""

    action: str | None = None
    comment: dict[str, object] | None = None
    issue: dict[str, object] | None = None
    pull_request: dict[str, object] | None = None

    @property
    def is_new_comment(self) -> bool:
        """Whether somebody commented on an issue or a pull request for the first time."""
        is_ours = self.issue is not None or self.pull_request is not None
        return self.action == CREATED and self.comment is not None and is_ours


def commented(values: Mapping[str, object]) -> Commented | None:
    """Return the new comment in a payload; None for any other event.

    Raises:
        InvalidMessage: a field that we need is missing or wrong.
    """
    return read_fields(Commented, values) if read_fields(Event, values).is_new_comment else None


class Listener:
    """Knows when it is spoken to.

    Args:
        login: ours, with or without the `[bot]` of an app.
    """

    def __init__(self, login: str) -> None:
        name = login.removeprefix("@").removesuffix("[bot]").lower()
        self._own = frozenset({name, f"{name}[bot]"})
        own = rf"(?<![\w@/.-])@{re.escape(name)}(?:\[bot\])?(?![\w-])"
        self._mention = re.compile(own, re.IGNORECASE)
        self._address = re.compile(rf"\s*(?:{own}|{COMMAND}(?!\S))[ \t]*[,:]?\s*", re.IGNORECASE)

    def is_person(self, user: User | None) -> bool:
        """Return whether `user` is neither we nor another bot nor nobody."""
        return user is not None and user.type != BOT and user.login.lower() not in self._own

    def heard(self, comment: str) -> str | None:
        """Return what `comment` says to us, without a mention in front; None if it does not."""
        if is_ours(comment.strip()):
            return comment.strip()
        addressed = self._address.match(comment)
        if addressed is not None:
            return comment[addressed.end() :].rstrip() or comment
        spoken = _SILENT.sub(lambda found: " " * len(found[0]), comment)
        return comment if self._mention.search(spoken) else None


def without_mentions(text: str) -> str:
    """Return `text` so that it calls nobody, whatever a model was talked into; code stays as it is.

    At most one character longer for each two of its own.
    """
    pieces: list[str] = []
    at = 0
    for code in _CODE.finditer(text):
        pieces += [_MENTION.sub("@\u200b", text[at : code.start()]), code[0]]
        at = code.end()
    return "".join([*pieces, _MENTION.sub("@\u200b", text[at:])])
