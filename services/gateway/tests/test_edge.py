from __future__ import annotations

import re

import pytest
from prometheus_client import REGISTRY, generate_latest


@pytest.mark.parametrize("path", ["/", "/nowhere", "/healthz", "/api/messages", "/chat.js"])
async def test_every_answer_has_the_security_headers(client, path: str) -> None:
    answer = await client.get(path)

    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "require-trusted-types-for 'script'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in answer.headers
    assert "server" not in answer.headers


async def test_an_answer_names_the_trace_it_belongs_to(client) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}

    followed = await client.get("/nowhere", headers=headers)
    fresh = await client.get("/nowhere")

    assert followed.headers["x-trace-id"] == trace_id
    assert followed.json()["trace_id"] == trace_id
    assert re.fullmatch(r"[0-9a-f]{32}", fresh.headers["x-trace-id"])


async def test_an_unknown_path_is_a_problem_that_does_not_echo_it(client) -> None:
    answer = await client.get("/<script>?q=hunter2")

    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
    assert "script" not in answer.text
    assert "hunter2" not in answer.text


async def test_a_bug_is_500_without_its_words(door, client, payload, post_signed) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("hunter2")

    door.inbox.keep = broken

    answer = await post_signed(payload())

    assert answer.status_code == 500
    assert answer.headers["x-frame-options"] == "DENY"
    assert {**answer.json(), "trace_id": ""} == {
        "type": "urn:problem-type:clawdbot:internal",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "internal error",
        "code": "internal",
        "trace_id": "",
    }


async def test_health_is_served_at_the_same_door(door, client) -> None:
    door.health.warn_when("model", lambda: "model is missing at ./models/x; run make models")

    alive = await client.get("/healthz")
    starting = await client.get("/readyz")
    door.health.is_started = True
    ready = await client.get("/readyz")

    assert (alive.status_code, starting.status_code, ready.status_code) == (200, 503, 200)
    assert ready.json()["warnings"]["model"].startswith("model is missing at ./models/x")


async def test_metrics_are_not_for_the_public(client) -> None:
    answer = await client.get("/metrics")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/startupz"])
async def test_health_can_only_be_read(door, client, path: str) -> None:
    door.health.is_started = True

    head, post = await client.head(path), await client.post(path, content=b"{}")

    assert head.status_code == 200
    assert (post.status_code, post.headers["allow"]) == (405, "GET, HEAD")
    assert post.json()["code"] == "method_not_allowed"
    assert post.headers["x-content-type-options"] == "nosniff"


async def test_requests_are_counted_by_template_never_by_path(client) -> None:
    await client.get("/api/messages/one")
    await client.get("/api/messages/two/three")
    await client.request("BREW", "/nowhere")

    metrics = generate_latest(REGISTRY).decode()
    routes = set(re.findall(r'duration_seconds_count{method="(\w+)",route="([^"]+)"', metrics))
    assert ("GET", "/api/messages/{message_id}") in routes
    assert ("_OTHER", "unmatched") in routes
    assert not any("one" in route or "two" in route for _, route in routes)


async def test_refusals_are_counted_by_code(client) -> None:
    labels = {"channel": "webhook", "code": "unauthenticated"}
    before = REGISTRY.get_sample_value("clawdbot_gateway_refused_total", labels) or 0

    await client.post("/api/messages", content=b"{}")

    assert REGISTRY.get_sample_value("clawdbot_gateway_refused_total", labels) == before + 1
