"""ONNX Runtime sessions: one way to open them, one way in which they fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from clawdbot.schema.errors import NotFound, Unavailable

# ONNX Runtime's errors have no common base.
ORT_ERRORS = (
    errors.EPFail,
    errors.EngineError,
    errors.Fail,
    errors.InvalidArgument,
    errors.InvalidGraph,
    errors.InvalidProtobuf,
    errors.NoModel,
    errors.NoSuchFile,
    errors.NotImplemented,
    errors.RuntimeException,
    # What a bound run raises whatever went wrong in it.
    RuntimeError,
)

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"


def open_session(graph: Path, threads: int) -> ort.InferenceSession:
    """Return a session on the GPU when this ONNX Runtime has one, else on the CPU.

    Args:
        graph: the ONNX file.
        threads: CPU threads that one run may use.

    Raises:
        NotFound: the file is missing, no ONNX model, or needs what this runtime lacks.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Two models share the cores, and threads that spin after a run take them from the other one:
    # with both busy on two cores, spinning cost 1.2 to 1.8 times the CPU time for less output.
    # Not to spin at all costs a fifth of the tokens, since a step has hundreds of short pauses.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "10")
    available = ort.get_available_providers()
    providers = [name for name in (CUDA, CPU) if name in available]
    try:
        return ort.InferenceSession(graph, options, providers=providers)
    except ORT_ERRORS as exc:
        raise NotFound(f"{graph} cannot be loaded: {exc}") from exc


def provider(session: ort.InferenceSession) -> str:
    """Return the execution provider in use, such as `CPUExecutionProvider`."""
    return str(session.get_providers()[0])


@contextmanager
def running(what: str) -> Iterator[None]:
    """Translate errors of a run.

    Raises:
        Unavailable: ONNX Runtime failed, for example for lack of memory.
    """
    try:
        yield
    except ORT_ERRORS as exc:
        raise Unavailable(f"{what} failed: {exc}") from exc
