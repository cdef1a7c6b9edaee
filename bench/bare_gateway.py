"""The gateway's baseline, as a process: FastAPI, a pydantic model, one publish per request."""

from __future__ import annotations

import asyncio
import os
import sys

import nats
import uvicorn
import uvloop
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from nats.js import JetStreamContext
from pydantic import BaseModel

from clawdbot.runtime.config import load_config
from clawdbot.runtime.secrets import Secrets, bus_seed
from clawdbot.schema.permissions import inbox

USER = "gateway"


class Body(BaseModel):
    """The fields of the webhook."""

    platform: str
    sender_id: str
    content: str
    timestamp: int
    message_id: str
    conversation_id: str


def build_app(jetstream: JetStreamContext) -> FastAPI:
    """Return the application: one route."""
    # FastAPI's own telemetry would only make the baseline slower.
    app = FastAPI(openapi_url=None, telemetry={"tracing": False, "metrics": False})

    @app.post("/api/messages", response_model=None)
    async def accept(body: Body) -> JSONResponse:
        subject = f"claw.in.bare.{body.conversation_id}.{body.message_id}"
        await jetstream.publish(
            subject,
            body.model_dump_json().encode(),
            headers={"Nats-Expected-Last-Subject-Sequence": "0"},
        )
        answer = {"message_id": body.message_id, "status": "accepted"}
        return JSONResponse(answer, status_code=202)

    return app


async def serve(port: int) -> None:
    """Serve on the loopback address until stopped, or until standard input ends."""
    config = load_config()
    client = await nats.connect(
        config.bus.url,
        nkeys_seed_str=Secrets.of(config).text(bus_seed(USER)),
        inbox_prefix=inbox(USER),
    )
    server = uvicorn.Server(
        uvicorn.Config(
            build_app(client.jetstream()),
            host="127.0.0.1",
            port=port,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
    )
    _end_with_parent(server)
    sys.stderr.write('"ready"\n')
    await server.serve()
    await client.close()


def _end_with_parent(server: uvicorn.Server) -> None:
    loop = asyncio.get_running_loop()

    def heard() -> None:
        if not os.read(0, 1):
            loop.remove_reader(0)
            server.should_exit = True

    loop.add_reader(0, heard)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
