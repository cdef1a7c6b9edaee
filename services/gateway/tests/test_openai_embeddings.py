"""`/v1/embeddings` and `/v1/models`."""

from __future__ import annotations

import base64
import struct

import httpx
import pytest

from clawdbot.schema.errors import Unavailable
from clawdbot.schema.inference import ModelState, Role


@pytest.fixture
def post(client: httpx.AsyncClient, bearer):
    async def send(**fields: object) -> httpx.Response:
        body = {"model": "toy-embedding", "input": "hi", **fields}
        return await client.post("/v1/embeddings", json=body, headers=bearer())

    return send


async def test_vectors_come_as_floats_or_base64_in_order(door, post) -> None:
    floats = (await post(input=["a", "bcd"])).json()
    packed = (await post(input=["a", "bcd"], encoding_format="base64")).json()

    assert [item["index"] for item in floats["data"]] == [0, 1]
    assert floats["data"][1]["embedding"] == [1.0, 0.5]
    raw = base64.b64decode(packed["data"][1]["embedding"])
    assert struct.unpack("<2f", raw) == (1.0, 0.5)
    assert floats["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    assert floats["model"] == "toy-embedding"


async def test_many_texts_are_asked_for_in_bounded_calls(door, post) -> None:
    answer = await post(input=["x"] * 600)

    assert len(answer.json()["data"]) == 600
    assert [len(asked.texts) for asked in door.inference.asked] == [256, 256, 88]


async def test_texts_are_passages_unless_said_otherwise(door, post) -> None:
    await post()
    await post(input_type="query")

    assert [asked.role for asked in door.inference.asked] == [Role.PASSAGE, Role.QUERY]


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"input": [1, 2]}, "input", "unsupported_parameter"),
        ({"input": [[1, 2]]}, "input", "unsupported_parameter"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": ""}, "input", "invalid_value"),
        ({"input": ["a", ""]}, "input", "invalid_value"),
        ({"input": None}, "input", "invalid_value"),
        ({"input": {"a": 1}}, "input", "invalid_value"),
        ({"encoding_format": "hex"}, "encoding_format", "invalid_value"),
        ({"dimensions": 3}, "dimensions", "unsupported_parameter"),
        ({"dimensions": 0}, "dimensions", "invalid_value"),
        ({"input_type": "song"}, "input_type", "invalid_value"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_name(
    post, fields: dict[str, object], param: str, code: str
) -> None:
    answer = await post(**fields)

    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)


async def test_the_models_own_dimensions_may_be_named(post) -> None:
    assert (await post(dimensions=2)).status_code == 200


async def test_a_chat_model_embeds_nothing(post) -> None:
    answer = await post(model="toy")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_models_that_are_ready_are_listed_after_the_assistant(door, client, bearer) -> None:
    door.inference.states["toy-embedding"] = ModelState.FAILED

    listed = await client.get("/v1/models", headers=bearer())
    one = await client.get("/v1/models/toy", headers=bearer())
    none = await client.get("/v1/models/gpt-4o", headers=bearer())

    assert [model["id"] for model in listed.json()["data"]] == ["clawdbot", "toy"]
    assert one.json()["object"] == "model"
    assert (none.status_code, none.json()["error"]["code"]) == (404, "model_not_found")


async def test_models_need_a_token_and_the_inference_service(door, client, bearer) -> None:
    stranger = await client.get("/v1/models")
    door.inference.failure = Unavailable("nobody answers")
    alone = await client.get("/v1/models", headers=bearer())

    assert (stranger.status_code, alone.status_code) == (401, 503)
    assert alone.headers["retry-after"] == "5"
