"""Embeddings per second: 32 callers through NATS against the best bare loop of the same model."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from functools import partial

import numpy as np
import onnxruntime as ort
import yaml
from tokenizers import Tokenizer

from bench.measure import Comparison, Effort, Target, interleaved
from bench.processes import stack
from clawdbot.runtime.bus import Bus
from clawdbot.runtime.config_sections import Models
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.inference import EMBED, EmbedRequest, Role

TARGET = Target(0.9)
CALLERS = 32
BATCHES = (1, 4, 8)
WORDS = ("the", "river", "harbour", "keeps", "seven", "small", "boats", "and", "an", "old", "lamp")
LENGTHS = (4, 8, 12, 20, 32, 48, 80)
"""Words of a text; most sentences are short."""


class BareEmbedder:
    """What a script would do: sort by length, pad, run.

    It takes texts as the service does, so tokenising counts on both sides.
    """

    def __init__(self, models: Models) -> None:
        folder = max((models.directory / models.embedding).iterdir())
        card = yaml.safe_load((folder / "model.yaml").read_text())
        self._padding = int(card["padding_token_id"])
        self._prefix = str(card["roles"]["passage"])
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        options = ort.SessionOptions()
        options.intra_op_num_threads = models.threads
        self._session = ort.InferenceSession(
            folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )

    def rate(self, texts: Sequence[str], batch: int) -> float:
        """Return the embeddings per second with `batch` texts in a run."""
        began = time.perf_counter()
        encoded = self._tokenizer.encode_batch_fast([self._prefix + text for text in texts])
        rows = sorted((text.ids for text in encoded), key=len)
        for start in range(0, len(rows), batch):
            self._run(rows[start : start + batch])
        return len(texts) / (time.perf_counter() - began)

    def _run(self, rows: Sequence[Sequence[int]]) -> None:
        ids = np.full((len(rows), max(map(len, rows))), self._padding, np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        self._session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})


async def run(effort: Effort) -> list[Comparison]:
    """Compare rates over the same texts."""
    texts = _texts(effort.count(192))
    async with stack("relaxed") as local:
        models = local.config.models
        bare = await asyncio.to_thread(BareEmbedder, models)
        async with local.process("clawdbot.inference.main"), local.bus("memory") as bus:
            batch = await _best_batch(bare, texts)
            ours, raw = await interleaved(
                effort.rounds,
                partial(_rate, bus, models.embedding, texts),
                partial(asyncio.to_thread, bare.rate, texts, batch),
            )
    name = f"embeddings, {CALLERS} callers / bare batch {batch}"
    return [Comparison(name, "texts/s", ours, raw, TARGET)]


def _texts(count: int) -> list[str]:
    chosen = random.Random(1)
    return [" ".join(chosen.choices(WORDS, k=chosen.choice(LENGTHS))) for _ in range(count)]


async def _best_batch(bare: BareEmbedder, texts: Sequence[str]) -> int:
    rates = {
        batch: max([await asyncio.to_thread(bare.rate, texts, batch) for _ in range(2)])
        for batch in BATCHES
    }
    return max(BATCHES, key=lambda batch: rates[batch])


async def _rate(bus: Bus, model: str, texts: Sequence[str]) -> float:
    left = iter(texts)

    async def caller() -> None:
        for text in left:
            request = EmbedRequest(texts=(text,), role=Role.PASSAGE)
            await bus.call(EMBED, request, deadline=Deadline.after(60), target=model)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return len(texts) / (time.perf_counter() - began)
