"""Guides over the toy tokenizer of one token per byte: what they allow, where they end."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from tokenizers import decoders, pre_tokenizers

from clawdbot.inference.adapters.json_guides import JSONGuides
from clawdbot.inference.domain.guided_sampling import masked
from clawdbot.inference.domain.json_schema import MAX_CHARS, MAX_CONTAINERS, MAX_DEPTH
from clawdbot.inference.domain.sampling import Sampler, Sampling
from clawdbot.schema.errors import InvalidMessage

START, END = 0, 1
LIMIT = 400
SCHEMAS: dict[str, dict[str, Any]] = {
    "object": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    "choice": {"enum": ["red", "green", 7, None]},
    "list": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    "either": {"anyOf": [{"type": "number"}, {"type": "string", "maxLength": 5}]},
    "tree": {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "kind": {"const": "nœud"},
                    "below": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2},
                },
                "required": ["kind"],
                "additionalProperties": False,
            }
        },
    },
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
}


@pytest.fixture(scope="session")
def guides(chat_tokenizer_json: str) -> JSONGuides:
    return JSONGuides(chat_tokenizer_json, [END])


@pytest.fixture(scope="session")
def closing(chat_tokenizer_json: str) -> np.ndarray:
    """What makes a model that says anything come to an end."""
    vocabulary = json.loads(chat_tokenizer_json)["model"]["vocab"]
    bonus = np.zeros(len(vocabulary), np.float32)
    bonus[[END, *(vocabulary[piece] for piece in '"}]')]] = 3.0
    return bonus


def written(sampler: Sampler, bonus: np.ndarray, seed: int) -> tuple[bytes, bool]:
    """Return what a model of random logits writes, and whether it ended it."""
    random = np.random.default_rng(seed)
    tokens: list[int] = []
    while len(tokens) < LIMIT:
        token = sampler.pick(random.normal(size=len(bonus)).astype(np.float32) + bonus)
        if token == END:
            return text_of(tokens), True
        tokens.append(token)
        if sampler.is_complete:
            return text_of(tokens), True
    return text_of(tokens), False


def text_of(tokens: list[int]) -> bytes:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    return decoders.ByteLevel().decode(["".join(alphabet[at - 2] for at in tokens)]).encode()


@given(
    name=st.sampled_from(sorted(SCHEMAS)),
    seed=st.integers(0, 2**32),
    temperature=st.sampled_from([0.0, 0.7, 1.5]),
    top_p=st.sampled_from([1.0, 0.5]),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_the_model_wants_a_complete_answer_follows_the_schema(
    guides: JSONGuides, closing: np.ndarray, name: str, seed: int, temperature: float, top_p: float
) -> None:
    wanted = Sampling(
        temperature=temperature,
        top_p=top_p,
        repetition_penalty=1.1,
        seed=seed,
        json_schema=json.dumps(SCHEMAS[name]),
    )

    text, is_complete = written(guides.sampler(wanted), closing, seed)

    if is_complete:
        Draft202012Validator(SCHEMAS[name]).validate(json.loads(text))


def test_an_optional_form_is_free_text_or_complete_json(
    guides: JSONGuides, closing: np.ndarray
) -> None:
    begun = set()
    for seed in range(300):
        wanted = Sampling(
            temperature=1.0,
            seed=seed,
            json_schema=json.dumps(SCHEMAS["object"]),
            is_json_optional=True,
        )
        text, is_complete = written(guides.sampler(wanted), closing, seed)
        begun.add(text[:1] == b"{")
        if is_complete and text.startswith(b"{"):
            Draft202012Validator(SCHEMAS["object"]).validate(json.loads(text))
    assert begun == {True, False}


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ("{", "no JSON"),
        ("true", "no JSON object"),
        ('{"type": "nope"}', "nope"),
        ('{"type": "string", "not": {"const": "x"}}', "not"),
        ('{"type": "array", "uniqueItems": true}', "uniqueItems"),
        ('{"type": "string", "pattern": "(?=a)b"}', "regex"),
        ('{"type": "integer", "minimum": 5, "maximum": 3}', "minimum"),
        ('{"enum": []}', "Unsatisfiable"),
        ('{"$ref": "https://example.org/schema.json"}', "example.org"),
        ('{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}', "followed"),
        ('{"x-guidance": {"lenient": true}, "not": {}}', "not"),
        ('{"title": "' + "x" * MAX_CHARS + '"}', "characters"),
        ('{"enum": [' + ", ".join(["{}"] * MAX_CONTAINERS) + "]}", "objects and lists"),
        ('{"items": ' * MAX_DEPTH + "{}" + "}" * MAX_DEPTH, "deeper"),
    ],
)
def test_a_schema_that_cannot_be_followed_is_refused_by_its_rule(
    guides: JSONGuides, schema: str, named: str
) -> None:
    with pytest.raises(InvalidMessage, match=named) as refused:
        guides.sampler(Sampling(json_schema=schema))

    assert refused.value.field == "json_schema"


def test_the_largest_nesting_that_is_let_through_compiles(guides: JSONGuides) -> None:
    count = (MAX_CONTAINERS - 6) // 4
    below = {f"a{i}": {"properties": {"x": {"$ref": f"#/$defs/a{i + 1}"}}} for i in range(count)}
    schema = {"$ref": "#/$defs/a0", "$defs": {**below, f"a{count}": {"type": "null"}}}

    assert not guides.sampler(Sampling(json_schema=json.dumps(schema))).is_complete


def test_a_tokenizer_that_cannot_be_guided_is_named() -> None:
    with pytest.raises(InvalidMessage, match="tokenizer cannot be guided"):
        JSONGuides("{}", [0]).sampler(Sampling(json_schema="{}"))


@pytest.mark.parametrize("widths", [(5, 3), (3, 5)], ids=["wider logits", "wider mask"])
def test_tokens_beyond_the_mask_or_the_logits_are_none(widths: tuple[int, int]) -> None:
    logits, allowed = np.ones(widths[0], np.float32), np.ones(widths[1], np.bool_)

    kept = masked(logits, allowed)

    assert np.isfinite(kept).sum() == 3
    assert len(kept) == widths[0]
