"""Guides for answers in JSON, by llguidance: a parser that knows which tokens may come next.

Source: llguidance 1.9 (Rust); JSON Schema keywords that it does not implement are refused.
"""

from __future__ import annotations

import threading
from collections.abc import Collection

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from clawdbot.inference.domain.guided_sampling import (
    Guide,
    GuidedSampler,
    OptionalGuide,
    Tokens,
)
from clawdbot.inference.domain.json_schema import checked_schema
from clawdbot.inference.domain.sampling import Sampler, Sampling
from clawdbot.schema.errors import InvalidMessage

MAX_REASON_CHARS = 200
BEGINS_AS_JSON = LLMatcher.grammar_from_regex(r"\{(?s:.)*")


class JSONGuides:
    """Makes samplers of one model; safe from any thread.

    Args:
        definition: contents of tokenizer.json.
        stop_tokens: tokens that end an answer.
    """

    def __init__(self, definition: str, stop_tokens: Collection[int]) -> None:
        self._definition = definition
        self._stop_tokens = sorted(stop_tokens)
        self._lock = threading.Lock()
        self._tokenizer: LLTokenizer | None = None
        self._openers: Tokens | None = None

    def sampler(self, sampling: Sampling) -> Sampler:
        """Return what draws an answer's tokens; slow with a schema, so not for the event loop.

        Raises:
            InvalidMessage: the schema cannot be followed; the message says which rule of it.
        """
        if sampling.json_schema is None:
            return Sampler(sampling)
        schema = checked_schema(sampling.json_schema)
        tokenizer, openers = self._tables()
        guide: Guide = JSONGuide(_matcher(tokenizer, _grammar(schema)))
        guide.allowed()
        if sampling.is_json_optional:
            guide = OptionalGuide(guide, openers)
        return GuidedSampler(sampling, guide)

    def _tables(self) -> tuple[LLTokenizer, Tokens]:
        """Return what every guide needs; made by the first that does: 0.8 s and 45 MB."""
        with self._lock:
            if self._tokenizer is None or self._openers is None:
                self._tokenizer = _tokenizer(self._definition, self._stop_tokens)
                self._openers = _mask(_matcher(self._tokenizer, BEGINS_AS_JSON))
            return self._tokenizer, self._openers


class JSONGuide:
    """A `Guide` of one answer."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher
        self.is_over = False

    def allowed(self) -> Tokens:
        """See `Guide.allowed`."""
        return _mask(self._matcher)

    def take(self, token: int) -> None:
        """See `Guide.take`."""
        self._matcher.consume_token(token)
        _require(self._matcher)
        self.is_over = self._matcher.is_stopped()


def _tokenizer(definition: str, stop_tokens: list[int]) -> LLTokenizer:
    try:
        return LLTokenizer(definition, eos_token=stop_tokens)
    except ValueError as exc:
        raise InvalidMessage(
            f"this model's tokenizer cannot be guided: {exc}",
            field="json_schema",
            fix="leave json_schema out, or use another model",
        ) from exc


def _grammar(schema: str) -> str:
    # White space is fixed: a small model would fill the answer with it.
    return LLMatcher.grammar_from_json_schema(
        schema,
        overrides={
            "whitespace_flexible": False,
            "item_separator": ", ",
            "key_separator": ": ",
            "lenient": False,
            "coerce_one_of": False,
        },
    )


def _matcher(tokenizer: LLTokenizer, grammar: str) -> LLMatcher:
    # The library's own limits of work (about 20 ms a step) stay; this one is of memory.
    limits = LLParserLimits(max_lexer_states=20_000, verbose_errors=False)
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
    _require(matcher)
    return matcher


def _mask(matcher: LLMatcher) -> Tokens:
    bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
    _require(matcher)
    allowed = np.unpackbits(bits, bitorder="little").astype(np.bool_)
    if not allowed.any():
        raise _unfollowable("no token can come next")
    return allowed


def _require(matcher: LLMatcher) -> None:
    if matcher.is_error():
        raise _unfollowable(matcher.get_error().split("\n", 1)[0][:MAX_REASON_CHARS])


def _unfollowable(reason: str) -> InvalidMessage:
    return InvalidMessage(
        f"the schema cannot be followed: {reason}",
        field="json_schema",
        fix="leave that rule out of the schema",
    )
