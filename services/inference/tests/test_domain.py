from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawdbot.inference.domain.answer import Answer
from clawdbot.inference.domain.batching import BatchLimits, next_batch
from clawdbot.inference.domain.detokenizer import REPLACEMENT, Detokenizer
from clawdbot.inference.domain.sampling import Sampler, Sampling, nucleus
from clawdbot.inference.domain.stop_text import StopText
from clawdbot.inference.domain.windows import pooled, split

LENGTHS = st.lists(st.integers(1, 600), min_size=1, max_size=40)


def decode(tokens: Sequence[int]) -> str:
    return bytes(tokens).decode("utf-8", "replace")


@given(LENGTHS, st.data())
def test_batch_holds_the_head_and_keeps_its_limits(lengths: list[int], data: st.DataObject) -> None:
    head = data.draw(st.integers(0, len(lengths) - 1))
    limits = BatchLimits(rows=8, padded_tokens=1024, padding_ratio=1.25)

    batch = next_batch(lengths, head, limits)

    chosen = [lengths[index] for index in batch]
    padded = len(chosen) * max(chosen)
    assert batch[0] == head
    assert len(set(batch)) == len(batch) <= limits.rows
    assert len(batch) == 1 or padded <= min(1024, 1.25 * sum(chosen))


def test_texts_of_one_length_fill_the_batch() -> None:
    assert len(next_batch([20] * 30, 4, BatchLimits())) == 8


def test_short_text_does_not_ride_with_a_long_one() -> None:
    assert next_batch([400, 10, 390], 0, BatchLimits()) == [0, 2]


@given(st.lists(st.integers(), max_size=300), st.integers(1, 70))
def test_windows_hold_every_token_once_in_order(tokens: list[int], room: int) -> None:
    windows = split(tokens, room)

    assert [token for window in windows for token in window] == tokens
    assert all(len(window) <= room for window in windows)
    assert len(windows) == max(1, -(-len(tokens) // room))


@given(st.lists(st.tuples(st.integers(1, 512), st.integers(0, 9)), min_size=1, max_size=6))
def test_pooled_vector_has_unit_length(windows: list[tuple[int, int]]) -> None:
    vectors = np.eye(10, dtype=np.float32)[[axis for _, axis in windows]]

    vector = pooled(vectors, [length for length, _ in windows])

    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_longer_window_weighs_more() -> None:
    vector = pooled(np.eye(2, dtype=np.float32), [300, 100])

    assert vector[0] == pytest.approx(3 * vector[1])


@given(st.text(max_size=60))
def test_streamed_text_is_the_text(text: str) -> None:
    detokenizer = Detokenizer(decode)

    pieces = [detokenizer.push(byte) for byte in text.encode()] + [detokenizer.finish()]

    assert "".join(pieces) == text


@given(st.binary(max_size=60))
def test_garbage_bytes_come_out_as_they_decode(data: bytes) -> None:
    detokenizer = Detokenizer(decode)

    pieces = [detokenizer.push(byte) for byte in data] + [detokenizer.finish()]

    assert "".join(pieces) == decode(list(data))


@given(st.text(alphabet="aé你🙂", min_size=1))
def test_no_piece_shows_half_a_character(text: str) -> None:
    detokenizer = Detokenizer(decode)

    pieces = [detokenizer.push(byte) for byte in text.encode()]

    assert REPLACEMENT not in "".join(pieces)


@given(st.text(alphabet="ab", max_size=40), st.lists(st.text("ab", min_size=1, max_size=4)))
def test_stop_string_ends_the_text_however_it_is_cut(text: str, stops: list[str]) -> None:
    stopping = StopText(stops)

    shown = "".join(map(stopping.push, text)) + stopping.finish()

    # Letter by letter, the stop string that is complete first wins.
    ends = [(text.find(stop) + len(stop), -len(stop)) for stop in stops if stop in text]
    expected = text[: min(ends)[0] + min(ends)[1]] if ends else text
    assert shown == expected
    assert stopping.is_stopped == bool(ends)


def test_answer_shows_what_was_held_back_at_its_end() -> None:
    answer = Answer(decode, ["END"])

    shown = [answer.push(byte) for byte in b"at the EN"]

    assert "".join(shown) == "at the "
    assert answer.finish() == "EN"
    assert answer.text == "at the EN"


@given(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=50))
def test_greedy_takes_the_most_likely(values: list[float]) -> None:
    logits = np.array(values, np.float32)

    token = Sampler(Sampling()).pick(logits)

    assert logits[token] == logits.max()


@given(
    st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=50),
    st.floats(0.01, 2),
    st.floats(0.05, 1),
    st.integers(-(2**63), 2**64 - 1),
)
def test_drawn_token_lies_in_the_nucleus_and_follows_the_seed(
    values: list[float], temperature: float, top_p: float, seed: int
) -> None:
    logits = np.array(values, np.float32)
    sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed)
    scaled = np.exp((logits.astype(np.float64) - logits.max()) / temperature)

    drawn, again = (
        [sampler.pick(logits) for _ in range(5)]
        for sampler in (Sampler(sampling), Sampler(sampling))
    )

    assert drawn == again
    if top_p < 1:
        assert set(drawn) <= set(nucleus(scaled / scaled.sum(), top_p).tolist())


def test_nucleus_is_the_fewest_tokens_that_reach_the_sum() -> None:
    assert nucleus(np.array([0.1, 0.6, 0.3]), 0.85).tolist() == [1, 2]
    assert nucleus(np.array([0.1, 0.6, 0.3]), 0.2).tolist() == [1]


def test_repeated_token_loses_to_a_new_one_under_the_penalty() -> None:
    logits = np.array([2.0, 1.9, -1.0], np.float32)
    sampler = Sampler(Sampling(repetition_penalty=1.5))

    assert [sampler.pick(logits), sampler.pick(logits)] == [0, 1]


def test_negative_logits_of_repeated_tokens_shrink_too() -> None:
    sampler = Sampler(Sampling(repetition_penalty=2.0))

    assert sampler.pick(np.array([-1.0, -1.5], np.float32)) == 0
    assert sampler.pick(np.array([-1.0, -1.5], np.float32)) == 1
