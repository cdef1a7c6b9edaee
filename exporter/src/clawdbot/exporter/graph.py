"""A small writer for ONNX graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 21
IR_VERSION = 10
"""Both are read by every ONNX Runtime since 1.20."""

INT32 = TensorProto.INT32
INT64 = TensorProto.INT64
FLOAT = TensorProto.FLOAT

Shape = Sequence[int | str]


class GraphWriter:
    """Collects nodes and constants; names are unique because callers prefix them by layer."""

    def __init__(self, name: str) -> None:
        """Start an empty graph called `name`."""
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, element: int, shape: Shape) -> str:
        """Declare a graph input and return its name."""
        self._inputs.append(helper.make_tensor_value_info(name, element, shape))
        return name

    def output(self, name: str, element: int, shape: Shape) -> None:
        """Declare the value called `name` as a graph output."""
        self._outputs.append(helper.make_tensor_value_info(name, element, shape))

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """Store `value` in the model file and return its name."""
        array = np.ascontiguousarray(value)
        if np.ndim(value) == 0:
            array = array.reshape(())
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a standard operator with one output, called `name`, and return that name."""
        self._nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def fused(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> str:
        """Add one of ONNX Runtime's own operators and return its first output's name."""
        made = helper.make_node(
            op, inputs, outputs, name=outputs[0], domain="com.microsoft", **attributes
        )
        self._nodes.append(made)
        return outputs[0]

    def split(self, source: str, sizes: Sequence[int], outputs: Sequence[str]) -> Sequence[str]:
        """Cut the last axis of `source` into pieces of the given sizes; return their names."""
        lengths = self.constant(f"{outputs[0]}.sizes", np.array(sizes, np.int64))
        made = helper.make_node("Split", [source, lengths], outputs, name=outputs[0], axis=-1)
        self._nodes.append(made)
        return outputs

    def peak(self, source: str, name: str) -> None:
        """Add an output `name` [features]: the peaks of `source` [batch, n, features]."""
        size = self.node("Abs", [source], f"{name}.size")
        axes = self.constant(f"{name}.axes", np.array([0, 1], np.int64))
        self.output(self.node("ReduceMax", [size, axes], name, keepdims=0), FLOAT, ["features"])

    def serialised(self) -> bytes:
        """Return the model file; the same calls give the same bytes."""
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, self._constants
        )
        model = helper.make_model(
            graph,
            producer_name="clawdbot-exporter",
            ir_version=IR_VERSION,
            opset_imports=[
                helper.make_opsetid("", OPSET),
                helper.make_opsetid("com.microsoft", 1),
            ],
        )
        return bytes(model.SerializeToString(deterministic=True))
