"""The models of this replica: each has a place, whether it could be loaded or not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from clawdbot.inference.adapters import metrics
from clawdbot.inference.adapters.loading import Loaded
from clawdbot.schema.errors import ClawdbotError, NotFound, Unavailable
from clawdbot.schema.inference import ModelState, ModelStatus

log = logging.getLogger(__name__)


class Running(Protocol):
    """A model with a thread of its own."""

    @property
    def label(self) -> str:
        """Name and version."""

    def start(self) -> None:
        """Start the thread."""

    async def watch(self) -> None:
        """Wait until the thread ends."""

    def close(self) -> None:
        """Stop the thread."""


M = TypeVar("M", bound=Running)


class ModelPlace(Generic[M]):
    """One model: loading, ready, or failed with a reason that its callers are told.

    A context manager: leaving it lets the model go.

    Args:
        name: the rpc target.
        kind: `chat` or `embedding`.
        fix: what to do when it cannot be loaded.
    """

    def __init__(self, name: str, kind: str, fix: str) -> None:
        self.name = name
        self._kind = kind
        self._fix = fix
        self._loaded: Loaded[M] | None = None
        self._failure: str | None = None
        metrics.model_ready.labels(name).set(0)

    @property
    def is_ready(self) -> bool:
        """Whether the model can answer."""
        return self._loaded is not None

    def get(self) -> M:
        """Return the model.

        Raises:
            Unavailable: it is still loading.
            NotFound: it could not be loaded.
        """
        if self._failure is not None:
            raise NotFound(self._failure, fix=self._fix)
        if self._loaded is None:
            raise Unavailable(f"model {self.name!r} is loading")
        return self._loaded.model

    async def load(self, load: Callable[[], Loaded[M]]) -> None:
        """Load in a thread; a failure is kept and logged, never raised.

        So one model that cannot be loaded leaves the other one serving.
        """
        loading = asyncio.get_running_loop().run_in_executor(None, load)
        await asyncio.wait([loading])
        error = loading.exception()
        if error is not None:
            self._fail(error)
            return
        self._loaded = loading.result()
        # Not in the loading thread: a start that is cancelled must leave no thread behind.
        self._loaded.model.start()
        metrics.model_ready.labels(self.name).set(1)
        details = {"model": self._loaded.model.label, "provider": self._loaded.provider}
        log.info("model is ready", extra=details)

    async def watch(self) -> None:
        """Wait as long as the model runs; raises what broke its thread."""
        await self.get().watch()

    def status(self) -> ModelStatus:
        """Return where the model stands."""
        version, detail, state = "", "", ModelState.LOADING
        if self._failure is not None:
            state, detail = ModelState.FAILED, f"{self._failure}; {self._fix}"
        elif self._loaded is not None:
            state, detail = ModelState.READY, self._loaded.provider
            version = self._loaded.version
        return ModelStatus(
            name=self.name, version=version, kind=self._kind, state=state, detail=detail
        )

    async def __aenter__(self) -> ModelPlace[M]:
        """Return the place."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the model; what it still works on fails."""
        metrics.model_ready.labels(self.name).set(0)
        if self._loaded is not None:
            await asyncio.to_thread(self._loaded.model.close)

    def _fail(self, error: BaseException) -> None:
        is_bug = not isinstance(error, ClawdbotError)
        reason = f"{type(error).__name__}: {error}" if is_bug else str(error)
        self._failure = f"model {self.name!r} cannot be served: {reason}"
        log.error(
            "model cannot be loaded",
            extra={"model": self.name, "reason": reason, "fix": self._fix},
            exc_info=error if is_bug else None,
        )


class Registry:
    """All places, for whoever asks how they are."""

    def __init__(self, places: Sequence[ModelPlace[Any]]) -> None:
        self._places = places

    def statuses(self) -> tuple[ModelStatus, ...]:
        """Return where each model stands."""
        return tuple(place.status() for place in self._places)

    def problem(self) -> str | None:
        """Return why not every model can answer, or None when all can."""
        waiting = [
            status.detail or f"model {status.name!r} is loading"
            for status in self.statuses()
            if status.state is not ModelState.READY
        ]
        return "; ".join(waiting) or None
