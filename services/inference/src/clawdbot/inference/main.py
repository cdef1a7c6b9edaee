"""The inference service: two models, four rpcs."""

from __future__ import annotations

import asyncio

from clawdbot.inference.adapters.loading import Limits, Source, load_chat, load_embedder
from clawdbot.inference.adapters.observed import ObservedChat, ObservedEmbed
from clawdbot.inference.adapters.onnx_chat import ONNXChatModel
from clawdbot.inference.adapters.onnx_embedder import ONNXEmbeddingModel
from clawdbot.inference.adapters.registry import ModelPlace, Registry
from clawdbot.inference.handlers.chat import Chat
from clawdbot.inference.handlers.embed import Embed
from clawdbot.inference.handlers.models import Models
from clawdbot.inference.settings import Settings
from clawdbot.runtime.config import Config
from clawdbot.runtime.service import Runtime, main
from clawdbot.schema.inference import CHAT, COUNT, EMBED, MODELS

CHAT_FIX = (
    "run `make models`, then set models.default to smollm2-135m-instruct in config.yaml "
    "or put the file there"
)
EMBEDDING_FIX = (
    "run `make models`, then set models.embedding to multilingual-e5-small in config.yaml "
    "or put the file there"
)


async def run(config: Config) -> None:
    """Serve until told to stop."""
    async with Runtime.open("inference", config) as runtime:
        settings = Settings.of(config)
        chat = await runtime.enter(ModelPlace[ONNXChatModel](settings.chat, "chat", CHAT_FIX))
        embedding = await runtime.enter(
            ModelPlace[ONNXEmbeddingModel](settings.embedding, "embedding", EMBEDDING_FIX)
        )
        registry = Registry([chat, embedding])
        runtime.health.ready_when("models", registry.problem)
        await runtime.respond(MODELS, Models(registry).list)
        await asyncio.gather(
            _serve_chat(runtime, chat, settings), _serve_embedding(runtime, embedding, settings)
        )
        await runtime.until_stopped()


async def _serve_chat(
    runtime: Runtime, place: ModelPlace[ONNXChatModel], settings: Settings
) -> None:
    source = Source(settings.chat, settings.directory, settings.chat_path)
    await place.load(lambda: load_chat(source, _limits(settings)))
    # Only now: a replica whose model is loading would take calls from those that are ready.
    chat = ObservedChat(place.name, Chat(place))
    await runtime.respond_stream(
        CHAT, chat.chat, target=place.name, concurrency=_concurrency(settings)
    )
    await runtime.respond(COUNT, chat.count, target=place.name)
    if place.is_ready:
        runtime.spawn(place.watch(), name=f"model-{place.name}")


async def _serve_embedding(
    runtime: Runtime, place: ModelPlace[ONNXEmbeddingModel], settings: Settings
) -> None:
    source = Source(settings.embedding, settings.directory)
    await place.load(lambda: load_embedder(source, _limits(settings)))
    embed = ObservedEmbed(place.name, Embed(place))
    await runtime.respond(EMBED, embed.embed, target=place.name, concurrency=_concurrency(settings))
    if place.is_ready:
        runtime.spawn(place.watch(), name=f"model-{place.name}")


def _limits(settings: Settings) -> Limits:
    return Limits(
        threads=settings.threads,
        max_queue=settings.max_queue,
        slots=settings.slots,
        context_length=settings.context_length,
    )


def _concurrency(settings: Settings) -> int:
    # One more than fits: it is the model's queue that answers `Overloaded`, and counts it.
    return settings.slots + settings.max_queue + 1


def cli() -> None:
    """Run the service as a process."""
    main("inference", run)


if __name__ == "__main__":
    cli()
