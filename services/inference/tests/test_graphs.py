from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clawdbot.inference.adapters.causal_graph import CausalGraph
from clawdbot.inference.adapters.embed_graph import EmbedGraph, mean_pooled
from clawdbot.inference.adapters.onnx_session import open_session
from clawdbot.schema.errors import NotFound

from .conftest import DIM, WriteFolder

PROMPTS = ([5, 9, 30], [7] * 11, [40, 41, 42, 43, 44], [12])


@pytest.fixture
def causal(chat_folder: WriteFolder) -> CausalGraph:
    session = open_session(chat_folder() / "model.onnx", threads=1)
    return CausalGraph(session, slots=4, capacity=64)


def greedy_alone(graph: CausalGraph, prompt: list[int], count: int) -> list[int]:
    tokens = [int(graph.prefill(0, prompt, 0).argmax())]
    for held in range(len(prompt), len(prompt) + count - 1):
        tokens.append(int(graph.decode([tokens[-1]], [held])[0].argmax()))
    return tokens


def test_slots_together_say_what_each_says_alone(causal: CausalGraph) -> None:
    expected = [greedy_alone(causal, prompt, 12) for prompt in PROMPTS]

    answers = [[int(causal.prefill(s, p, 0).argmax())] for s, p in enumerate(PROMPTS)]
    held = [len(prompt) for prompt in PROMPTS]
    for _ in range(11):
        logits = causal.decode([answer[-1] for answer in answers], held)
        held = [length + 1 for length in held]
        for answer, row in zip(answers, logits, strict=True):
            answer.append(int(row.argmax()))

    assert answers == expected
    assert len({tuple(answer) for answer in answers}) > 1


def test_prompt_in_chunks_gives_the_logits_of_the_whole(causal: CausalGraph) -> None:
    prompt = list(range(2, 32))
    whole = causal.prefill(0, prompt, 0)

    causal.prefill(1, prompt[:13], 0)
    chunked = causal.prefill(1, prompt[13:], 13)

    np.testing.assert_allclose(chunked, whole, atol=1e-4)


def test_moved_slot_goes_on_where_it_was(causal: CausalGraph) -> None:
    prompt = list(PROMPTS[1])
    causal.prefill(0, prompt, 0)
    expected = causal.decode([3], [len(prompt)])
    causal.prefill(2, prompt, 0)
    causal.prefill(0, [1, 1, 1], 0)

    causal.move(2, 0, len(prompt))

    np.testing.assert_array_equal(causal.decode([3], [len(prompt)]), expected)


def test_graph_without_cache_is_refused(embedding_folder: WriteFolder) -> None:
    session = open_session(embedding_folder() / "model.onnx", threads=1)

    with pytest.raises(NotFound, match="no decoder with a cache"):
        CausalGraph(session, slots=1, capacity=8)


def test_file_that_is_no_graph_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a graph")

    with pytest.raises(NotFound, match=str(path)):
        open_session(path, threads=1)


def test_padding_does_not_change_a_vector(embedding_folder: WriteFolder) -> None:
    session = open_session(embedding_folder() / "model.onnx", threads=1)
    graph = EmbedGraph(session, dim=DIM, padding=1)
    rows = [[4, 5, 6], [9] * 10, [30]]

    together = graph.run(rows)

    np.testing.assert_allclose(together, np.concatenate([graph.run([row]) for row in rows]), 1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_width_other_than_the_cards_is_refused(embedding_folder: WriteFolder) -> None:
    session = open_session(embedding_folder() / "model.onnx", threads=1)

    with pytest.raises(NotFound, match="expected width 384"):
        EmbedGraph(session, dim=384, padding=1)


def test_pooling_counts_only_what_the_mask_shows() -> None:
    hidden = np.array([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]]], np.float32)

    pooled = mean_pooled(hidden, np.array([[1, 1, 0]]))

    np.testing.assert_allclose(pooled, [[0.6, 0.8]], atol=1e-6)
