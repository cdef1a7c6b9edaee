"""A decoder graph with an in-place cache: one slot reads its prompt, or many slots step at once.

Contract: inputs `input_ids` int64 [batch, n], `attention_mask` int64 [batch, total] (ones for the
tokens held after this run) and `past_key_values.*` [batch, heads, capacity, dim]; outputs `logits`
[batch, 1 or n, vocabulary] and `present.*`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from clawdbot.inference.adapters.kv_cache import CacheShape, KVCache
from clawdbot.inference.adapters.onnx_session import CUDA, provider, running
from clawdbot.schema.errors import NotFound

PAST, PRESENT = "past_key_values.", "present."
_TYPES: dict[str, type[np.float32 | np.float16]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
}
Ints = NDArray[np.int64]


class CausalGraph:
    """Runs an ONNX decoder; to be used by one thread.

    Args:
        session: the graph.
        slots: how many sequences are held.
        capacity: tokens per sequence.

    Raises:
        NotFound: the graph has other inputs or outputs than the contract says.
    """

    def __init__(self, session: ort.InferenceSession, *, slots: int, capacity: int) -> None:
        self._session = session
        inputs = {node.name: node for node in session.get_inputs()}
        outputs = {node.name: node for node in session.get_outputs()}
        past = _past_names(inputs, outputs)
        first = inputs[past[0]]
        self._logits_type = _element(outputs["logits"])
        self._gives_all = outputs["logits"].shape[1] != 1
        self._vocabulary = int(outputs["logits"].shape[2])
        shape = CacheShape(
            slots, int(first.shape[1]), capacity, int(first.shape[3]), _element(first)
        )
        pairs = [(name, PRESENT + name.removeprefix(PAST)) for name in past]
        device = "cuda" if provider(session) == CUDA else "cpu"
        self._cache = KVCache(pairs, shape, device)
        self._slots = slots
        self._bindings: dict[tuple[int, int], ort.IOBinding] = {}

    def warm_up(self) -> None:
        """Use every slot once: shows whether the graph works, and has the system find the memory.

        Without it the first caller of each slot waits for its pages, up to a second.

        Raises:
            Unavailable: the run failed.
        """
        for slot in range(self._slots):
            self.prefill(slot, [0], 0)
        self.decode([0] * self._slots, [1] * self._slots)

    def prefill(self, slot: int, tokens: Sequence[int], held: int) -> NDArray[np.float32]:
        """Add `tokens` to a slot that holds `held`; return the last one's logits [vocabulary].

        Raises:
            Unavailable: the run failed.
        """
        ids = np.asarray([tokens], np.int64)
        mask = np.ones((1, held + len(tokens)), np.int64)
        first: NDArray[np.float32] = self._run(slot, ids, mask)[0]
        return first

    def decode(self, tokens: Sequence[int], held: Sequence[int]) -> NDArray[np.float32]:
        """Add one token to each of the first slots; return their logits [slots, vocabulary].

        Args:
            tokens: one per slot.
            held: how many tokens each slot holds before.

        Raises:
            Unavailable: the run failed.
        """
        ids = np.asarray(tokens, np.int64)[:, None]
        after = np.asarray(held, np.int64)[:, None] + 1
        mask = (np.arange(int(after.max())) < after).astype(np.int64)
        return self._run(0, ids, mask)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of a slot to another."""
        self._cache.move(source, target, length)

    def _run(self, first: int, ids: Ints, mask: Ints) -> NDArray[np.float32]:
        count, length = ids.shape
        logits = np.empty(
            (count, length if self._gives_all else 1, self._vocabulary), self._logits_type
        )
        binding = self._binding(first, count)
        for name, array in (("input_ids", ids), ("attention_mask", mask)):
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        address = logits.ctypes.data
        binding.bind_output("logits", "cpu", 0, self._logits_type, logits.shape, address)
        with running("the chat model"):
            self._session.run_with_iobinding(binding)
        return np.asarray(logits[:, -1], np.float32)

    def _binding(self, first: int, count: int) -> ort.IOBinding:
        # Binding the cache takes longer than binding the step's small inputs, so it is kept.
        binding = self._bindings.get((first, count))
        if binding is None:
            binding = self._session.io_binding()
            self._cache.bind(binding, first, count)
            self._bindings[first, count] = binding
        return binding


def _past_names(inputs: dict[str, Any], outputs: dict[str, Any]) -> list[str]:
    past = [name for name in inputs if name.startswith(PAST)]
    unknown = set(inputs) - set(past) - {"input_ids", "attention_mask"}
    wanted = {"logits", *(PRESENT + name.removeprefix(PAST) for name in past)}
    if not past or unknown or not wanted <= set(outputs):
        raise NotFound(
            "the graph is no decoder with a cache: it must have the inputs input_ids, "
            f"attention_mask and {PAST}*, the outputs logits and {PRESENT}*, and no others; "
            f"it has {', '.join(sorted(inputs))} and {', '.join(sorted(outputs))}"
        )
    return past


def _element(node: Any) -> type[np.float32 | np.float16]:
    if node.type not in _TYPES:
        raise NotFound(f"the graph's {node.name} is {node.type}, expected float or float16")
    return _TYPES[node.type]
