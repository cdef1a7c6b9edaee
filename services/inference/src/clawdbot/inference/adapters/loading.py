"""Makes models of folders; slow, so to be called in a thread of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import onnxruntime as ort

from clawdbot.inference.adapters import metrics, model_folder
from clawdbot.inference.adapters.causal_graph import CausalGraph
from clawdbot.inference.adapters.chat_tokenizer import ChatTokenizer
from clawdbot.inference.adapters.embed_graph import EmbedGraph
from clawdbot.inference.adapters.embed_scheduler import EmbedScheduler
from clawdbot.inference.adapters.embed_tokenizer import EmbedTokenizer
from clawdbot.inference.adapters.json_guides import JSONGuides
from clawdbot.inference.adapters.model_card import ChatCard, EmbeddingCard
from clawdbot.inference.adapters.model_folder import ModelFolder
from clawdbot.inference.adapters.onnx_chat import ONNXChatModel
from clawdbot.inference.adapters.onnx_embedder import ONNXEmbeddingModel
from clawdbot.inference.adapters.onnx_session import open_session, provider
from clawdbot.inference.adapters.slot_scheduler import SlotLimits, SlotScheduler
from clawdbot.inference.domain.batching import BatchLimits
from clawdbot.schema.errors import ClawdbotError, NotFound


@dataclass(frozen=True)
class Source:
    """Which model to load, and under which name it is served."""

    name: str
    directory: Path
    path: Path | None = None
    """The ONNX file, when it is not the newest version below `directory`."""

    def folder(self) -> ModelFolder:
        """Return the model's folder.

        Raises:
            NotFound: there is none.
        """
        if self.path is not None:
            return model_folder.at(self.path)
        return model_folder.named(self.directory, self.name)


@dataclass(frozen=True)
class Limits:
    """What one model may take."""

    threads: int
    max_queue: int
    slots: int
    context_length: int


M = TypeVar("M")


@dataclass(frozen=True)
class Loaded(Generic[M]):
    """A model, and what its status says."""

    model: M
    version: str
    provider: str
    """ONNX Runtime's execution provider, such as `CPUExecutionProvider`."""


def load_chat(source: Source, limits: Limits) -> Loaded[ONNXChatModel]:
    """Return a chat model that is ready to answer.

    Raises:
        NotFound: a file is missing, damaged, or not what a chat model needs; names it and why.
    """
    folder = source.folder()
    with _blaming(folder):
        return _chat_in(folder, source.name, limits)


def _chat_in(folder: ModelFolder, name: str, limits: Limits) -> Loaded[ONNXChatModel]:
    card = folder.card(ChatCard)
    folder.verify(card.files)
    variables = {"bos_token": card.bos_token, "eos_token": card.eos_token}
    definition = _text(folder, model_folder.TOKENIZER)
    tokenizer = ChatTokenizer(definition, _text(folder, model_folder.TEMPLATE), variables)
    session = _session(name, folder, limits)
    capacity = card.capped(limits.context_length)
    graph = CausalGraph(session, slots=limits.slots, capacity=capacity)
    graph.warm_up()
    slots = SlotLimits(slots=limits.slots, max_queue=limits.max_queue)
    scheduler = SlotScheduler(graph, slots, frozenset(card.stop_token_ids), name)
    guides = JSONGuides(definition, card.stop_token_ids)
    label = f"{name}/{card.version}"
    model = ONNXChatModel(label, capacity, tokenizer=tokenizer, guides=guides, scheduler=scheduler)
    return Loaded(model, str(card.version), provider(session))


def load_embedder(source: Source, limits: Limits) -> Loaded[ONNXEmbeddingModel]:
    """Return an embedding model that is ready to answer.

    Raises:
        NotFound: a file is missing, damaged, or not what an embedding model needs.
    """
    folder = source.folder()
    with _blaming(folder):
        return _embedder_in(folder, source.name, limits)


def _embedder_in(folder: ModelFolder, name: str, limits: Limits) -> Loaded[ONNXEmbeddingModel]:
    card = folder.card(EmbeddingCard)
    folder.verify(card.files)
    definition = _text(folder, model_folder.TOKENIZER)
    tokenizer = EmbedTokenizer(definition, card.roles, card.context_length)
    session = _session(name, folder, limits)
    graph = EmbedGraph(session, dim=card.dim, padding=card.padding_token_id)
    graph.run([[card.padding_token_id]])
    scheduler = EmbedScheduler(graph, BatchLimits(), limits.max_queue, name)
    label = f"{name}/{card.version}/{card.variant}"
    model = ONNXEmbeddingModel(label, tokenizer=tokenizer, scheduler=scheduler)
    return Loaded(model, str(card.version), provider(session))


@contextmanager
def _blaming(folder: ModelFolder) -> Iterator[None]:
    """Make every failure name the folder, since whoever reads it must know where to look."""
    try:
        yield
    except ClawdbotError as exc:
        if str(folder.path) in exc.message:
            raise
        raise NotFound(f"{folder.path}: {exc.message}") from exc


def _session(name: str, folder: ModelFolder, limits: Limits) -> ort.InferenceSession:
    if not folder.graph.is_file():
        raise NotFound(f"{folder.graph} does not exist")
    session = open_session(folder.graph, limits.threads)
    metrics.model_provider.labels(name, provider(session)).set(1)
    return session


def _text(folder: ModelFolder, name: str) -> str:
    path = folder.file(name)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise NotFound(f"{path} cannot be read: {exc}") from exc
