from __future__ import annotations

from clawdbot.gateway.adapters.model_watch import missing_from
from clawdbot.schema.inference import ModelsReply, ModelState, ModelStatus


def reply(state: ModelState, detail: str = "") -> ModelsReply:
    return ModelsReply(models=(ModelStatus(name="smol", state=state, detail=detail),))


def test_a_ready_model_misses_nothing() -> None:
    assert missing_from(reply(ModelState.READY), "smol") is None


def test_a_failed_model_says_its_path_and_fix() -> None:
    told = missing_from(
        reply(ModelState.FAILED, "./models/smol is missing; run make models"), "smol"
    )

    assert told == "model 'smol' is failed: ./models/smol is missing; run make models"


def test_an_unknown_model_points_to_the_setting() -> None:
    assert "models.default" in (missing_from(ModelsReply(models=()), "smol") or "")
