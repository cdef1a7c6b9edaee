from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from clawdbot.exporter.blocks import (
    BLOCK,
    Blocks,
    packed_nibbles,
    read_q4_0,
    read_q4_1,
    read_q8_0,
    requantised_8bit,
    stacked,
)
from clawdbot.exporter.errors import UnexpectedContents
from clawdbot.exporter.graph import FLOAT, GraphWriter

halves = st.floats(-100, 100, width=16)
bytes_of_block = hnp.arrays(np.uint8, (2, 3, 16))
scales_of_blocks = hnp.arrays(np.float16, (2, 3), elements=halves)


def raw_rows(*fields: NDArray[Any]) -> NDArray[np.uint8]:
    parts = [np.ascontiguousarray(f).view(np.uint8).reshape(2, 3, -1) for f in fields]
    return np.concatenate(parts, axis=-1).reshape(2, -1)


def plain_q4(packed: NDArray[np.uint8], block: tuple[int, int], at: int) -> int:
    """GGML's definition: byte j holds weight j low and weight j + 16 high."""
    byte = int(packed[*block, at % 16])
    return byte >> 4 if at >= 16 else byte & 15


@given(scales_of_blocks, bytes_of_block)
def test_q4_0_reads_as_its_definition_says(
    scales: NDArray[np.float16], packed: NDArray[np.uint8]
) -> None:
    read = read_q4_0(raw_rows(scales, packed)).dequantised().reshape(2, 3, BLOCK)

    for row, block, at in np.ndindex(2, 3, BLOCK):
        expected = (plain_q4(packed, (row, block), at) - 8) * float(scales[row, block])
        assert read[row, block, at] == pytest.approx(expected, rel=1e-6)


@given(scales_of_blocks, scales_of_blocks, bytes_of_block)
def test_q4_1_reads_as_its_definition_says(
    scales: NDArray[np.float16], minima: NDArray[np.float16], packed: NDArray[np.uint8]
) -> None:
    read = read_q4_1(raw_rows(scales, minima, packed)).dequantised().reshape(2, 3, BLOCK)

    for row, block, at in np.ndindex(2, 3, BLOCK):
        quant = plain_q4(packed, (row, block), at)
        expected = quant * float(scales[row, block]) + float(minima[row, block])
        assert read[row, block, at] == pytest.approx(expected, rel=1e-5, abs=1e-4)


@given(scales_of_blocks, hnp.arrays(np.int8, (2, 3, BLOCK)))
def test_q8_0_reads_as_its_definition_says(
    scales: NDArray[np.float16], quants: NDArray[np.int8]
) -> None:
    read = read_q8_0(raw_rows(scales, quants)).dequantised().reshape(2, 3, BLOCK)

    expected = quants * scales.astype(np.float32)[..., None]
    np.testing.assert_allclose(read, expected, rtol=1e-5, atol=1e-3)


@given(hnp.arrays(np.uint8, (2, 3, BLOCK), elements=st.integers(0, 15)))
def test_packing_puts_even_weights_in_low_nibbles(quants: NDArray[np.uint8]) -> None:
    packed = packed_nibbles(quants)

    np.testing.assert_array_equal(packed & 15, quants[..., 0::2])
    np.testing.assert_array_equal(packed >> 4, quants[..., 1::2])


@given(scales_of_blocks, scales_of_blocks, bytes_of_block)
def test_float_zero_points_keep_the_values(
    scales: NDArray[np.float16], minima: NDArray[np.float16], packed: NDArray[np.uint8]
) -> None:
    normal = np.where(np.abs(scales) < 1e-3, np.float16(0), scales)
    blocks = read_q4_1(raw_rows(normal, minima, packed))

    factors, zeros = blocks.float_zero_points()

    rebuilt = (blocks.quants_for_zero_points() - zeros[..., None]) * factors[..., None]
    expected = blocks.dequantised().reshape(2, 3, BLOCK)
    np.testing.assert_allclose(rebuilt, expected, rtol=1e-5, atol=1e-3)


@given(hnp.arrays(np.float32, (2, 3 * BLOCK), elements=st.floats(-50, 50, width=32)))
def test_eight_bits_round_by_at_most_half_a_step(values: NDArray[np.float32]) -> None:
    rounded = requantised_8bit(values)

    error = np.abs(rounded.dequantised() - values).reshape(2, 3, BLOCK)
    assert (error <= rounded.scales[..., None] * 0.501 + 1e-4).all()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_runtime_multiplies_with_exactly_these_weights(seed: int) -> None:
    random = np.random.default_rng(seed)
    quants = random.integers(0, 16, (8, 2, BLOCK), dtype=np.uint8)
    scales = random.normal(size=(8, 2)).astype(np.float32)
    scales[0, 0] = 0
    blocks = Blocks(quants, scales, random.normal(size=(8, 2)).astype(np.float32))
    inputs = random.normal(size=(3, 64)).astype(np.float32)

    product = run_matmul(blocks, inputs)

    np.testing.assert_allclose(product, inputs @ blocks.dequantised().T, rtol=1e-4, atol=1e-4)


def run_matmul(blocks: Blocks, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    scales, zeros = blocks.float_zero_points()
    graph = GraphWriter("one")
    constants = [
        graph.constant("q", packed_nibbles(blocks.quants_for_zero_points())),
        graph.constant("s", scales),
        graph.constant("z", zeros),
    ]
    x = graph.input("x", FLOAT, ["n", blocks.columns])
    shape = {"K": blocks.columns, "N": blocks.rows, "bits": 4, "block_size": BLOCK}
    graph.fused("MatMulNBits", [x, *constants], ["y"], accuracy_level=1, **shape)
    graph.output("y", FLOAT, ["n", blocks.rows])
    session = ort.InferenceSession(graph.serialised(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], {"x": inputs})[0])


def test_stacking_and_taking_move_rows_only() -> None:
    whole = requantised_8bit(np.arange(4 * BLOCK, dtype=np.float32).reshape(4, BLOCK))

    turned = whole.taken(np.array([2, 0]))

    expected = whole.dequantised()[[2, 0, 0, 1, 2, 3]]
    np.testing.assert_array_equal(stacked([turned, whole]).dequantised(), expected)


def test_rows_that_are_no_whole_blocks_are_refused() -> None:
    with pytest.raises(UnexpectedContents, match="18-byte blocks"):
        read_q4_0(np.zeros((2, 19), np.uint8))
