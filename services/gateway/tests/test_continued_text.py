from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clawdbot.gateway.domain.continued_text import ContinuedText

pieces = st.lists(st.text("ab \n", max_size=3), min_size=1, max_size=8)


@given(pieces, st.data())
def test_whatever_is_lost_all_that_is_shown_is_the_stored_answer(
    written: list[str], data: st.DataObject
) -> None:
    heard = data.draw(st.lists(st.sampled_from(range(len(written))), unique=True).map(sorted))
    stored = "".join(written).strip()
    text = ContinuedText()

    shown = "".join(text.push(index, written[index]) for index in heard)

    assert shown + (text.finish(stored) or "") == stored


@given(pieces, pieces)
def test_an_answer_that_is_written_anew_is_whole_or_known_to_be_none(
    first: list[str], second: list[str]
) -> None:
    stored = "".join(second).strip()
    text = ContinuedText()

    shown = "".join(
        text.push(index, piece) for tried in (first, second) for index, piece in enumerate(tried)
    )
    rest = text.finish(stored)

    assert rest is None or shown + rest == stored
    assert (rest is None) == (not stored.startswith(shown))
