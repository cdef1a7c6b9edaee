"""The OpenAPI document against the code that it describes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import jsonschema
import pytest
import yaml
from pydantic import BaseModel
from starlette.routing import Route

from clawdbot.gateway.adapters.chat import ChatBody
from clawdbot.gateway.adapters.edge import HEALTH_PATHS
from clawdbot.gateway.adapters.endpoint_blob import BlobEndpoint
from clawdbot.gateway.adapters.http_app import build_routes
from clawdbot.gateway.adapters.openai_embeddings import EmbeddingsBody
from clawdbot.gateway.adapters.openai_requests import CompletionBody
from clawdbot.gateway.adapters.openai_routes import OTHER
from clawdbot.gateway.adapters.openapi import document_text
from clawdbot.gateway.adapters.webhook import WebhookBody

DOCUMENT: dict[str, Any] = yaml.safe_load(document_text())
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
METHODS = ("get", "put", "post", "delete", "patch")
PROSE = {"title", "description", "examples", "example"}
STRICTER = {"pattern", "enum"}
"""What validators say in code and not in the model's schema."""


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


def served(routes: list[Route]) -> Iterator[tuple[str, str]]:
    for route in routes:
        # It answers what is not served.
        if route.path != OTHER:
            for method in (route.methods or set()) - {"HEAD"}:
                yield method.lower(), route.path.replace(":path}", "}")


def test_what_is_served_is_documented_and_the_other_way_round(door) -> None:
    door.blobs = object.__new__(BlobEndpoint)
    routes = [each for each in build_routes(door.endpoints()).routes if isinstance(each, Route)]

    of_platforms = {
        (method, path) for method, path, _ in operations() if path.startswith("/webhooks/")
    }
    health = {("get", path) for path in HEALTH_PATHS}
    documented = {(method, path) for method, path, _ in operations()}

    assert documented - of_platforms - health == set(served(routes))
    assert health <= documented


def resolved(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """Return `schema` with its references and nothing that is prose."""
    if isinstance(schema, list):
        return [resolved(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return resolved(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    kept = {key: value for key, value in schema.items() if key not in PROSE | {"$defs"}}
    if "properties" in kept:
        return {
            **{key: resolved(value, definitions) for key, value in kept.items()},
            "properties": {
                name: resolved(value, definitions) for name, value in schema["properties"].items()
            },
        }
    # Null is what a field is that was left out.
    if kept.get("default", ...) is None:
        del kept["default"]
    return {key: resolved(value, definitions) for key, value in kept.items()}


def agrees(documented: Any, model: Any) -> bool:
    """Return whether a request that is as documented is one that the model takes."""
    if isinstance(model, dict) and isinstance(documented, dict):
        # A model that takes anything is read by hand.
        return model == {} or (
            set(documented) - STRICTER == set(model) - STRICTER
            and all(agrees(documented[key], model[key]) for key in set(documented) & set(model))
        )
    if isinstance(model, list) and isinstance(documented, list):
        return len(model) == len(documented) and all(map(agrees, documented, model))
    return bool(documented == model)


@pytest.mark.parametrize("model", [WebhookBody, ChatBody, CompletionBody, EmbeddingsBody])
def test_request_bodies_are_documented_as_they_are_read(model: type[BaseModel]) -> None:
    schema = model.model_json_schema()

    read = resolved(schema, schema.get("$defs", {}))
    documented = resolved(SCHEMAS[model.__name__], SCHEMAS)

    assert set(documented["properties"]) == set(read["properties"])
    for name, field in read["properties"].items():
        assert agrees(documented["properties"][name], field), name
    assert set(documented["required"]) == set(read["required"])


def test_every_operation_has_a_name_and_answers_of_its_own_form() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]

    assert len(set(names)) == len(names)
    for _, path, operation in operations():
        for status, response in operation["responses"].items():
            reference = response.get("$ref", "")
            if int(status) >= 400 and "Health" not in reference:
                assert reference.rpartition("/")[2].startswith("OpenAI") == path.startswith("/v1/")


def test_every_reference_leads_somewhere() -> None:
    def follow(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                found: Any = DOCUMENT
                for part in value["$ref"].removeprefix("#/").split("/"):
                    found = found[part]
            for each in value.values():
                follow(each)
        elif isinstance(value, list):
            for each in value:
                follow(each)

    follow(DOCUMENT)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_schema_is_one(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])


async def test_the_document_is_served_with_the_paths_of_the_configuration(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/openapi.json")
    again = await client.get("/openapi.json", headers={"If-None-Match": answer.headers["etag"]})

    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == DOCUMENT
    assert again.status_code == 304
