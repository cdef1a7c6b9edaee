"""The other end of the echo, as a process: once through the runtime, once bare."""

from __future__ import annotations

from nats.aio.msg import Msg

from bench.echo import ECHO, MODEL, RAW_SUBJECT, Echo
from clawdbot.runtime.config import Config
from clawdbot.runtime.service import Runtime, main
from clawdbot.schema.rpc import Call


async def run(config: Config) -> None:
    """Answer until stopped."""
    async with Runtime.open(ECHO.service, config) as runtime:
        await runtime.respond(ECHO, _echo, target=MODEL)
        await runtime.bus.client.subscribe(RAW_SUBJECT, queue=ECHO.service, cb=_echo_raw)
        await runtime.until_stopped()


async def _echo(request: Echo, call: Call) -> Echo:
    del call
    return request


async def _echo_raw(msg: Msg) -> None:
    await msg.respond(msg.data)


if __name__ == "__main__":
    main(ECHO.service, run)
