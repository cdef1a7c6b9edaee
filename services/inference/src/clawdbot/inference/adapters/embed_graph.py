"""An embedding graph: padded token ids in, one unit vector per row out.

Contract: inputs `input_ids` and `attention_mask`, int64 [batch, n], and `token_type_ids` where the
graph has it; the first output is either [batch, dim], taken as it is, or [batch, n, dim], pooled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from clawdbot.inference.adapters.onnx_session import running
from clawdbot.schema.errors import NotFound

_KNOWN = {"input_ids", "attention_mask", "token_type_ids"}


class EmbedGraph:
    """Runs an ONNX embedding model; to be used by one thread.

    Raises:
        NotFound: the graph has other inputs or another width than expected.
    """

    def __init__(self, session: ort.InferenceSession, *, dim: int, padding: int) -> None:
        self._session = session
        self._padding = padding
        self._inputs = {node.name for node in session.get_inputs()}
        output = session.get_outputs()[0]
        self._output: str = output.name
        self._needs_pooling = len(output.shape) == 3
        if not {"input_ids", "attention_mask"} <= self._inputs <= _KNOWN:
            raise NotFound(f"the graph's inputs are {sorted(self._inputs)}, not {sorted(_KNOWN)}")
        if output.shape[-1] != dim:
            raise NotFound(f"the graph's {output.name} is {output.shape}, expected width {dim}")

    def run(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return float32 [len(rows), dim], each row of L2 norm 1.

        Args:
            rows: token ids, each at least one.

        Raises:
            Unavailable: the run failed.
        """
        longest = max(map(len, rows))
        ids = np.full((len(rows), longest), self._padding, np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        vectors = self._run(ids, mask)
        return mean_pooled(vectors, mask) if self._needs_pooling else vectors

    def _run(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        binding = self._session.io_binding()
        binding.bind_cpu_input("input_ids", ids)
        binding.bind_cpu_input("attention_mask", mask)
        if "token_type_ids" in self._inputs:
            binding.bind_cpu_input("token_type_ids", np.zeros_like(ids))
        binding.bind_output(self._output)
        with running("the embedding model"):
            self._session.run_with_iobinding(binding)
            [vectors] = binding.copy_outputs_to_cpu()
        return np.asarray(vectors, np.float32)


def mean_pooled(hidden: NDArray[np.float32], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the unit vectors of the masked means of `hidden` [batch, n, dim].

    Source: mean pooling over the attention mask (Reimers & Gurevych 2019, section 3).
    """
    weights = mask[..., None].astype(np.float32)
    means = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)
