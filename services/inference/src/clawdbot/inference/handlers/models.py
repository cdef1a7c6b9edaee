"""Which models there are."""

from __future__ import annotations

from clawdbot.inference.ports.models import Catalogue
from clawdbot.schema.inference import ModelsReply, ModelsRequest
from clawdbot.schema.rpc import Call


class Models:
    """Lists the models of this replica."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def list(self, request: ModelsRequest, call: Call) -> ModelsReply:
        """Return every model's state, with the reason of a failure."""
        del request, call
        return ModelsReply(models=self._catalogue.statuses())
