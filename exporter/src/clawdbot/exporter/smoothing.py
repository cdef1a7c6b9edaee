"""Move activation outliers into the weights before both become 8-bit.

One scale serves many int8 activations, so a single large channel costs the others their
precision. Dividing the channel and multiplying its weights by the same number changes nothing in
exact arithmetic and evens the load out.

Source: SmoothQuant (Xiao et al. 2023), equation 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

Floats = NDArray[np.float32]

Feed = Mapping[str, NDArray[Any]]

PEAK = ".peak"
"""A probing graph has an output `<matrix>.peak` [input features] for each matrix."""

EXPONENT = 0.65
"""Share of an outlier that the weights take; best or level with the best of five tried values
(0.3 to 0.8) for both models."""

_TINY = np.float32(1e-5)


def calibration_texts() -> list[str]:
    """Return the texts whose activations are measured, in English and Chinese."""
    text = resources.files("clawdbot.exporter").joinpath("calibration.txt").read_text("utf-8")
    return [line for line in text.splitlines() if line]


def activation_peaks(model: bytes, feeds: Iterable[Feed]) -> dict[str, Floats]:
    """Run a probing graph; return per matrix the greatest magnitude of each input channel.

    Args:
        model: a graph written with `probe=True`.
        feeds: its inputs, one text each, so that no padding is measured.
    """
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs() if output.name.endswith(PEAK)]
    peaks: dict[str, Floats] = {}
    for feed in feeds:
        for name, peak in zip(names, session.run(names, dict(feed)), strict=True):
            peaks[name] = np.maximum(peaks.get(name, np.float32(0)), np.asarray(peak))
    return {name.removesuffix(PEAK): peak for name, peak in peaks.items()}


def divisors(
    peaks: Mapping[str, Floats], weight_peaks: Callable[[str], Floats]
) -> dict[str, Floats]:
    """Return per matrix the numbers [input features] that its input is divided by.

    They are powers of two: dividing is then exact, and the last bits of a measurement, which
    differ between processors, hardly ever reach the model file.

    Args:
        peaks: greatest magnitude per input channel.
        weight_peaks: gives a matrix's greatest weight magnitude per input channel.
    """
    return {name: _power_of_two(peak, weight_peaks(name)) for name, peak in peaks.items()}


def _power_of_two(activations: Floats, weights: Floats) -> Floats:
    wanted = np.maximum(activations, _TINY) ** EXPONENT
    wanted /= np.maximum(weights, _TINY) ** (1 - EXPONENT)
    return np.exp2(np.rint(np.log2(wanted))).astype(np.float32)
