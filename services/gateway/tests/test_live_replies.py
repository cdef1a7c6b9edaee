from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.adapters.recording import InMemoryDeliveryRecords, RecordingSender
from clawdbot.gateway.domain.deliveries import (
    MARK,
    AnswerLost,
    SendTraits,
    preview,
    record_key,
)
from clawdbot.gateway.domain.splitting import TextLimit, open_fence
from clawdbot.gateway.handlers.drafts import MOST_EDITS, Draft, DraftPace, Line, Quiet
from clawdbot.gateway.handlers.live_replies import MOST_LIVE, LiveReplies
from clawdbot.gateway.ports import Heard, RecordingReplies
from clawdbot.schema.controls import Control, ControlKind
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.deliveries import ReplyDelivery
from clawdbot.schema.errors import ClawdbotError, Overloaded, Rejected, Unavailable
from clawdbot.schema.ids import Channel, ConversationId, MessageId, Tenant
from clawdbot.schema.messages import Delta, DeltaEnd, InboundMessage, OutboundMessage

LIMIT = TextLimit(200)
KEY = record_key("message", 0)


def message(**changes: object) -> InboundMessage:
    given = {
        "platform": "chat",
        "sender_id": "ada",
        "content": "?",
        "timestamp": 0,
        "message_id": MessageId("message"),
        "tenant": Tenant("default"),
        "conversation_id": ConversationId("conversation"),
        "channel": Channel("chat"),
        "accepted_at_ms": 0,
        "deadline_ms": 0,
        **changes,
    }
    return InboundMessage.model_validate(given)


def delta(index: int, text: str, of: str = "message") -> Delta:
    return Delta(message_id=MessageId(of), index=index, text=text)


END = DeltaEnd(message_id=MessageId("message"), count=1)
FAST = DraftPace(first_s=0.0, edit_s=0.01, call_s=1.0)


class Platform(RecordingSender):
    """A sender whose edits may fail, and which tells when something happened."""

    def __init__(self) -> None:
        super().__init__(SendTraits(edits=True))
        self.edit_failures: list[ClawdbotError | None] = []
        self.typing_failure: ClawdbotError | None = None

    async def edit(self, sent_id, part, *, deadline: Deadline) -> None:
        failure = self.edit_failures.pop(0) if self.edit_failures else None
        if failure is not None:
            raise failure
        await super().edit(sent_id, part, deadline=deadline)

    async def show_typing(self, part, *, deadline: Deadline) -> None:
        await super().show_typing(part, deadline=deadline)
        if self.typing_failure is not None:
            raise self.typing_failure

    @property
    def texts(self) -> list[str]:
        return [part.text for part in self.sent] + [text for _, text in self.edited]


class Stage:
    """Live replies over recording fakes."""

    def __init__(self, pace: DraftPace = FAST, typing_s: float | None = None) -> None:
        self.platform = Platform()
        self.replies = RecordingReplies()
        self.records = InMemoryDeliveryRecords()
        self.line = Line(self.platform, LIMIT, True, typing_s, pace, Quiet())
        self.live = LiveReplies(self.replies, self.records, {Channel("chat"): self.line}, "a")

    def hears(self, *script: Heard | ClawdbotError) -> None:
        self.replies.script = list(script)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.001)

    async def ended(self) -> None:
        await self.until(lambda: not self.live._tasks)

    @property
    def record(self) -> ReplyDelivery | None:
        noted = self.records.kept.get(KEY)
        return noted.value if noted else None

    def draft(self) -> Draft:
        return Draft(self.line, message(), self.records, "a/draft")


async def test_a_draft_is_sent_then_edited_and_left_to_the_stored_reply() -> None:
    stage = Stage()
    draft = stage.draft()

    for index, text in enumerate(("Once", " upon", " a time")):
        draft.take(delta(index, text))
        await draft.show()
    await draft.close()

    assert stage.platform.texts == [f"Once {MARK}", f"Once upon {MARK}", f"Once upon a time {MARK}"]
    assert stage.record == ReplyDelivery(owner="a/draft", draft_id="1")


async def test_an_answer_that_is_ready_at_once_has_no_draft() -> None:
    stage = Stage(DraftPace(first_s=60))
    stage.hears(delta(0, "Yes."), END)

    stage.live.begin(message())
    await stage.ended()

    assert (stage.platform.sent, stage.record) == ([], None)


async def test_the_draft_follows_what_is_heard_and_ends_with_it() -> None:
    stage = Stage()
    stage.hears(delta(0, "another", of="other"), delta(0, "Once"))

    stage.live.begin(message())
    await stage.until(lambda: stage.platform.sent)
    await stage.live.aclose()

    assert stage.platform.texts == [f"Once {MARK}"]
    assert stage.record is not None
    assert (stage.record.is_drafting, stage.record.draft_id) == (False, "1")
    assert stage.replies.listeners == 0


async def test_a_turn_that_begins_anew_begins_the_text_anew() -> None:
    stage = Stage()
    draft = stage.draft()
    for piece in (delta(0, "Old"), delta(1, " text"), delta(0, "New"), delta(1, " text")):
        draft.take(piece)

    await draft.show()

    assert stage.platform.texts == [f"New text {MARK}"]


async def test_after_a_gap_nothing_more_is_shown_until_it_begins_anew() -> None:
    stage = Stage()
    draft = stage.draft()
    for piece in (delta(0, "One"), delta(2, " three"), delta(3, " four")):
        draft.take(piece)
        await draft.show()

    assert stage.platform.texts == [f"One {MARK}"]


async def test_whoever_missed_the_beginning_shows_nothing() -> None:
    stage = Stage()
    draft = stage.draft()

    draft.take(delta(3, "the rest"))

    assert draft.due_in_s() is None


async def test_nothing_is_drafted_once_the_reply_is_being_delivered() -> None:
    stage = Stage()
    await stage.records.write(KEY, ReplyDelivery(owner="b"), 0, deadline=Deadline.after(1))
    draft = stage.draft()
    draft.take(delta(0, "late"))

    await draft.show()
    await draft.close()

    assert stage.platform.sent == []
    assert stage.record == ReplyDelivery(owner="b")


async def test_a_draft_that_was_taken_over_is_not_edited_any_more() -> None:
    stage = Stage()
    draft = stage.draft()
    draft.take(delta(0, "Once"))
    await draft.show()
    noted = stage.records.kept[KEY]
    taken = ReplyDelivery(owner="b", draft_id="1")
    await stage.records.write(KEY, taken, noted.revision, deadline=Deadline.after(1))

    draft.take(delta(1, " upon"))
    await draft.show()
    await draft.close()

    assert stage.platform.edited == []
    assert stage.record == taken
    assert draft.due_in_s() is None


class Forgetful(InMemoryDeliveryRecords):
    """Does what it is told, and does not say so."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at

    async def write(self, key, value, revision, *, deadline):
        written = await super().write(key, value, revision, deadline=deadline)
        if self.writes == self._at:
            self._at = 0
            raise Unavailable("the broker did not answer")
        return written


@pytest.mark.parametrize(("at", "draft_id", "doubts"), [(1, None, 0), (2, "1", 0), (3, "1", 0)])
async def test_a_record_whose_writing_was_not_confirmed_is_closed_all_the_same(
    at: int, draft_id: str | None, doubts: int
) -> None:
    stage = Stage()
    stage.records = Forgetful(at)
    draft = stage.draft()
    for index, text in enumerate(("Once", " upon", " a time")):
        draft.take(delta(index, text))
        if draft.due_in_s() is not None:
            await draft.show()

    await draft.close()

    expected = ReplyDelivery(owner="a/draft", draft_id=draft_id, doubts=doubts)
    assert stage.record == expected


@pytest.mark.parametrize(
    ("failure", "doubts"),
    [
        (Rejected("blocked"), 0),
        (Overloaded("busy", retry_after_s=60), 0),
        (Unavailable("away"), 0),
        (AnswerLost("no answer"), 1),
    ],
)
async def test_a_draft_that_cannot_be_sent_is_not_tried_again(
    failure: ClawdbotError, doubts: int
) -> None:
    stage = Stage()
    stage.platform.failures = [failure]
    draft = stage.draft()
    draft.take(delta(0, "Once"))

    await draft.show()
    await draft.close()

    assert draft.due_in_s() is None
    assert stage.record == ReplyDelivery(owner="a/draft", doubts=doubts)


async def test_no_draft_of_an_account_is_edited_while_the_platform_asks_to_wait() -> None:
    stage = Stage()
    stage.platform.edit_failures = [Overloaded("busy", retry_after_s=60)]
    draft = stage.draft()
    for index in range(2):
        draft.take(delta(index, "more "))
        await draft.show()
    other = stage.draft()
    other.take(delta(0, "hello"))

    due_s = [draft.due_in_s(), other.due_in_s()]

    assert all(each is not None and each > 50 for each in due_s)


async def test_pauses_grow_and_edits_end() -> None:
    stage = Stage(DraftPace(edit_s=1.0))
    draft = stage.draft()
    pauses = []
    for index in range(MOST_EDITS + 1):
        draft.take(delta(index, "more "))
        await draft.show()
        pauses.append(draft.due_in_s())

    assert pauses.pop() is None
    assert all(one < other for one, other in pairwise(pauses))
    assert len(stage.platform.edited) == MOST_EDITS


async def test_an_address_whose_messages_cannot_be_edited_gets_no_draft() -> None:
    stage = Stage()
    stage.platform.expected = SendTraits(edits=False)
    draft = stage.draft()
    draft.take(delta(0, "Once"))

    await draft.show()
    await draft.close()

    assert (stage.platform.sent, stage.record) == ([], None)


async def test_typing_is_shown_until_the_answer_is_there() -> None:
    stage = Stage(typing_s=0.001)

    stage.live.begin(message())
    await stage.until(lambda: stage.platform.typed > 2)
    await stage.live.aclose()

    assert stage.live._typing == {}


async def test_one_message_shows_typing_for_its_whole_conversation() -> None:
    stage = Stage(typing_s=60)

    stage.live.begin(message())
    await stage.until(lambda: stage.platform.typed)
    stage.live.begin(message(message_id="second"))
    await stage.until(lambda: stage.replies.listeners == 2)
    await stage.live.aclose()

    assert stage.platform.typed == 1


async def test_a_platform_that_refuses_typing_is_left_alone() -> None:
    stage = Stage(typing_s=0.001)
    stage.platform.typing_failure = Rejected("blocked")
    stage.hears(delta(0, "Once"))

    stage.live.begin(message())
    await stage.until(lambda: stage.platform.sent)
    await stage.live.aclose()

    assert stage.platform.typed == 1


async def test_what_is_answered_already_is_not_followed() -> None:
    stage = Stage(typing_s=0.001)
    stage.replies.stored["message"] = OutboundMessage(
        **message().model_dump(include={"channel", "tenant", "conversation_id", "message_id"}),
        content="done",
        created_at_ms=0,
    )

    stage.live.begin(message())
    await stage.ended()

    assert stage.platform.typed == 0


@pytest.mark.parametrize(
    "ignored",
    [
        message(channel="other"),
        message(control=Control(kind=ControlKind.STOP)),
    ],
)
async def test_other_channels_and_control_words_are_not_followed(ignored: InboundMessage) -> None:
    stage = Stage()

    stage.live.begin(ignored)

    assert not stage.live._tasks


async def test_only_so_many_are_followed_at_a_time() -> None:
    stage = Stage()

    for number in range(MOST_LIVE + 10):
        stage.live.begin(message(message_id=f"m{number}"))

    assert len(stage.live._tasks) == MOST_LIVE
    await stage.live.aclose()
    stage.live.begin(message())
    assert not stage.live._tasks


@given(st.text(alphabet="ab \n`~", max_size=600))
def test_a_preview_fits_and_leaves_no_code_block_open(text: str) -> None:
    shown = preview(text, LIMIT)

    assert LIMIT.size(shown) <= LIMIT.most
    assert open_fence(shown) is None
    assert bool(shown) == bool(text.strip())


def test_the_mark_stands_below_a_closed_code_block() -> None:
    assert preview("```py\nx = 1", LIMIT) == f"```py\nx = 1\n```\n{MARK}"
