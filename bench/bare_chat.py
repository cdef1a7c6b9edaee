"""The chat model's baseline: ONNX Runtime with bound inputs and outputs, greedy, one answer."""

from __future__ import annotations

import time
from collections.abc import Sequence

import jinja2
import numpy as np
import onnxruntime as ort
import yaml
from numpy.typing import NDArray
from tokenizers import Tokenizer

from clawdbot.runtime.config_sections import Models


class BareChat:
    """A loop over one sequence whose cache is bound once, in place."""

    def __init__(self, models: Models) -> None:
        folder = max((models.directory / models.default_name).iterdir())
        card = yaml.safe_load((folder / "model.yaml").read_text())
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        template = (folder / "chat_template.jinja").read_text()
        self._template = jinja2.Environment(autoescape=False).from_string(template)
        options = ort.SessionOptions()
        options.intra_op_num_threads = models.threads
        self._session = ort.InferenceSession(
            folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self._logits = np.empty((1, 1, int(card["vocabulary"])), np.float32)
        self._binding = self._session.io_binding()
        self._cache = self._bound_cache(card["kv_cache"], models.context_length)

    def answer(self, question: str, tokens: int) -> tuple[str, float]:
        """Return exactly `tokens` tokens as text, and the tokens per second from text to text."""
        began = time.perf_counter()
        messages = [{"role": "user", "content": question}]
        prompt = self._template.render(messages=messages, add_generation_prompt=True)
        ids = self._tokenizer.encode(prompt, add_special_tokens=False).ids
        answer = [self._step(ids, len(ids))]
        while len(answer) < tokens:
            answer.append(self._step(answer[-1:], len(ids) + len(answer)))
        text = self._tokenizer.decode(answer)
        return text, tokens / (time.perf_counter() - began)

    def _step(self, ids: Sequence[int], held: int) -> int:
        self._binding.bind_cpu_input("input_ids", np.asarray([ids], np.int64))
        self._binding.bind_cpu_input("attention_mask", np.ones((1, held), np.int64))
        self._session.run_with_iobinding(self._binding)
        return int(self._logits.argmax())

    def _bound_cache(self, sizes: dict[str, int], capacity: int) -> list[NDArray[np.float32]]:
        shape = (1, sizes["kv_heads"], capacity, sizes["head_dim"])
        arrays = []
        for layer in range(sizes["layers"]):
            for part in ("key", "value"):
                array = np.zeros(shape, np.float32)
                place = ("cpu", 0, np.float32, shape, array.ctypes.data)
                self._binding.bind_input(f"past_key_values.{layer}.{part}", *place)
                self._binding.bind_output(f"present.{layer}.{part}", *place)
                arrays.append(array)
        logits = self._logits
        self._binding.bind_output("logits", "cpu", 0, np.float32, logits.shape, logits.ctypes.data)
        return arrays
