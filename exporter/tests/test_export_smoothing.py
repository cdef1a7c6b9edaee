from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from clawdbot.exporter.embed_graph import int8_columns
from clawdbot.exporter.graph import FLOAT, GraphWriter
from clawdbot.exporter.smoothing import activation_peaks, calibration_texts, divisors

Floats = NDArray[np.float32]

peaks = hnp.arrays(np.float32, 8, elements=st.floats(0, 1000, width=32))


@given(peaks, peaks)
def test_divisors_are_powers_of_two(activations: Floats, weights: Floats) -> None:
    found = divisors({"m": activations}, lambda _: weights)["m"]

    mantissas, _ = np.frexp(found)
    assert (mantissas == 0.5).all()


def test_louder_channels_are_divided_by_more() -> None:
    activations = np.array([0.1, 1, 10, 100], np.float32)

    found = divisors({"m": activations}, lambda _: np.ones(4, np.float32))["m"]

    assert (np.diff(found) > 0).all()


@given(hnp.arrays(np.float32, (6, 4), elements=st.floats(-10, 10, width=32)))
def test_int8_columns_round_by_at_most_half_a_step(matrix: Floats) -> None:
    quants, scales = int8_columns(matrix)

    assert (np.abs(quants * scales - matrix) <= scales * 0.501 + 1e-6).all()


def test_peaks_are_the_greatest_magnitudes_over_all_feeds() -> None:
    graph = GraphWriter("probe")
    graph.peak(graph.input("x", FLOAT, ["batch", "n", 3]), "m.peak")
    first = np.array([[[1, -5, 0], [2, 1, 0]]], np.float32)
    second = np.array([[[-3, 4, 0.5]]], np.float32)

    found = activation_peaks(graph.serialised(), [{"x": first}, {"x": second}])

    np.testing.assert_array_equal(found["m"], [3, 5, 0.5])


def test_calibration_texts_are_in_both_languages() -> None:
    texts = calibration_texts()

    chinese = [text for text in texts if any("一" <= letter <= "鿿" for letter in text)]
    assert len(texts) >= 50
    assert 0.3 < len(chinese) / len(texts) < 0.7
