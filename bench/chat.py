"""Tokens per second: one answer through NATS against a bare loop, and four answers against one."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from functools import partial

from bench.bare_chat import BareChat
from bench.measure import Comparison, Effort, Target, interleaved
from bench.processes import stack
from clawdbot.runtime.bus import Bus
from clawdbot.schema.deadline import Deadline
from clawdbot.schema.errors import Unavailable
from clawdbot.schema.inference import CHAT, ChatDone, ChatRequest, ChatTurn

TARGET = Target(0.95)
TOGETHER_TARGET = Target(1.7)
TOGETHER = 4
TOKENS = 64
QUESTION = "Tell me a long story about a lighthouse keeper and the sea."


async def run(effort: Effort) -> list[Comparison]:
    """Compare rates for the same prompt, decoded greedily."""
    async with stack("relaxed") as local:
        models = local.config.models
        bare = await asyncio.to_thread(BareChat, models)
        async with local.process("clawdbot.inference.main"), local.bus("assistant") as bus:
            await _require_same_text(bus, models.default_name, bare)
            one, raw, four = await interleaved(
                effort.rounds,
                partial(_rate, bus, models.default_name, 1),
                partial(_bare_rate, bare),
                partial(_rate, bus, models.default_name, TOGETHER),
            )
    return [
        Comparison("chat, one answer", "tokens/s", one, raw, TARGET),
        Comparison(f"chat, {TOGETHER} answers / one", "tokens/s", four, one, TOGETHER_TARGET),
    ]


async def _require_same_text(bus: Bus, model: str, bare: BareChat) -> None:
    text, _ = await asyncio.to_thread(bare.answer, QUESTION, TOKENS)
    ours = await _answer(bus, model)
    if ours.usage.completion_tokens != TOKENS or ours.text != text:
        raise Unavailable(f"the two sides do not do the same: {ours.text!r} against {text!r}")


async def _answer(bus: Bus, model: str) -> ChatDone:
    request = ChatRequest(messages=(ChatTurn(role="user", content=QUESTION),), max_tokens=TOKENS)
    answer = bus.stream(CHAT, request, deadline=Deadline.after(60), target=model)
    async with aclosing(answer):
        async for item in answer:
            if isinstance(item, ChatDone):
                return item
    raise Unavailable("the answer has no end")


async def _rate(bus: Bus, model: str, answers: int) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(_answer(bus, model) for _ in range(answers)))
    return answers * TOKENS / (time.perf_counter() - began)


async def _bare_rate(bare: BareChat) -> float:
    _, rate = await asyncio.to_thread(bare.answer, QUESTION, TOKENS)
    return rate
