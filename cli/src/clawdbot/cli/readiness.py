"""Waits until services say that they are ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import httpx

_PAUSE_S = 0.15
_ANSWER_S = 2.0


@dataclass(frozen=True)
class Report:
    """What a service answered on `/readyz`."""

    is_ready: bool
    failing: Mapping[str, str] = field(default_factory=dict)
    warnings: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_started(self) -> bool:
        """Whether all that may still be missing comes from outside."""
        return "start" not in self.failing and "http" not in self.failing


async def ask(client: httpx.AsyncClient, url: str) -> Report:
    """Return the answer of the service behind `url`; without one, a report that says so."""
    try:
        answer = await client.get(url)
        body = answer.json()
        return Report(
            answer.status_code == httpx.codes.OK,
            dict(body.get("failing", {})),
            dict(body.get("warnings", {})),
        )
    except httpx.HTTPError as exc:
        return Report(False, {"http": f"no answer from {url}: {type(exc).__name__}"})
    except (ValueError, TypeError, AttributeError):
        return Report(False, {"http": f"{url} does not answer like a service of ours"})


async def ask_all(urls: Mapping[str, str]) -> dict[str, Report]:
    """Return what each service answers now."""
    async with http_client() as client:
        reports = await asyncio.gather(*(ask(client, url) for url in urls.values()))
    return dict(zip(urls, reports, strict=True))


async def until_ready(
    urls: Mapping[str, str],
    *,
    within_s: float,
    may_lack: Collection[str] = (),
    tell: Callable[[str, Report], None] = lambda _name, _report: None,
) -> dict[str, Report]:
    """Return each service's last report once all are ready, or the time is over.

    Args:
        urls: by service.
        within_s: how long to wait at most.
        may_lack: services that lack something for good; having started is enough for them.
        tell: told once of each service that need not be waited for any more.
    """
    last: dict[str, Report] = {}

    async def follow(client: httpx.AsyncClient, name: str, url: str) -> None:
        while True:
            last[name] = report = await ask(client, url)
            if report.is_ready or (name in may_lack and report.is_started):
                tell(name, report)
                return
            # Readiness can only be asked for, over HTTP.
            await asyncio.sleep(_PAUSE_S)

    async with http_client() as client:
        followers = [asyncio.create_task(follow(client, *pair)) for pair in urls.items()]
        try:
            await asyncio.wait(followers, timeout=within_s)
        finally:
            for follower in followers:
                follower.cancel()
            await asyncio.gather(*followers, return_exceptions=True)
    return last


def http_client() -> httpx.AsyncClient:
    """Return a client for services on this machine: no proxy stands before them."""
    return httpx.AsyncClient(trust_env=False, timeout=_ANSWER_S)
