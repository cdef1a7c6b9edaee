"""Keys and values of all slots, allocated once and grown in place.

Each layer's keys and values are one array [slots, heads, capacity, dim]; a model run sees a
contiguous range of slots of it, bound as input (past) and output (present) at the same address.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray


@dataclass(frozen=True)
class CacheShape:
    """Size of one array of the cache."""

    slots: int
    heads: int
    capacity: int
    """Tokens per slot."""
    dim: int
    dtype: type[np.float32 | np.float16]

    @property
    def slot_bytes(self) -> int:
        """Distance of two slots in memory."""
        return self.heads * self.capacity * self.dim * np.dtype(self.dtype).itemsize


class _Buffer(Protocol):
    address: int

    def move(self, source: int, target: int, length: int) -> None: ...


class _HostBuffer:
    def __init__(self, shape: CacheShape) -> None:
        size = (shape.slots, shape.heads, shape.capacity, shape.dim)
        self._array: NDArray[Any] = np.zeros(size, shape.dtype)
        self.address = int(self._array.ctypes.data)

    def move(self, source: int, target: int, length: int) -> None:
        self._array[target, :, :length] = self._array[source, :, :length]


class _DeviceBuffer:
    def __init__(self, shape: CacheShape, device: str) -> None:
        size = (shape.slots, shape.heads, shape.capacity, shape.dim)
        self._value = ort.OrtValue.ortvalue_from_shape_and_type(size, shape.dtype, device, 0)
        self.address = int(self._value.data_ptr())

    def move(self, source: int, target: int, length: int) -> None:
        # ONNX Runtime's Python interface copies whole values only; once per answer is bearable.
        array = self._value.numpy()
        array[target, :, :length] = array[source, :, :length]
        self._value.update_inplace(array)


class KVCache:
    """The cache of one model.

    Args:
        names: per array, the graph's input (past) and output (present).
        shape: of each array.
        device: `cpu` or `cuda`.
    """

    def __init__(self, names: Sequence[tuple[str, str]], shape: CacheShape, device: str) -> None:
        self._names = names
        self._shape = shape
        self._device = device
        self._buffers: list[_Buffer] = [
            _HostBuffer(shape) if device == "cpu" else _DeviceBuffer(shape, device) for _ in names
        ]

    def bind(self, binding: ort.IOBinding, first: int, count: int) -> None:
        """Make `binding` read and write the slots `first` to `first + count`."""
        shape = (count, self._shape.heads, self._shape.capacity, self._shape.dim)
        for (past, present), buffer in zip(self._names, self._buffers, strict=True):
            address = buffer.address + first * self._shape.slot_bytes
            binding.bind_input(past, self._device, 0, self._shape.dtype, shape, address)
            binding.bind_output(present, self._device, 0, self._shape.dtype, shape, address)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of one slot to another."""
        for buffer in self._buffers:
            buffer.move(source, target, length)
