from __future__ import annotations

from pathlib import Path

from clawdbot.cli.models import how_to_get, missing
from clawdbot.runtime.config_sections import Models


def place(directory: Path, name: str) -> None:
    (directory / name / "1").mkdir(parents=True)
    (directory / name / "1" / "model.onnx").touch()


def test_a_model_without_its_graph_is_missing(tmp_path: Path) -> None:
    place(tmp_path, "multilingual-e5-small")
    (tmp_path / "smollm2-135m-instruct" / "1").mkdir(parents=True)

    assert missing(Models(directory=tmp_path)) == ["smollm2-135m-instruct"]


def test_a_whole_pair_lacks_nothing(tmp_path: Path) -> None:
    place(tmp_path, "multilingual-e5-small")
    place(tmp_path, "smollm2-135m-instruct")

    assert missing(Models(directory=tmp_path)) == []


def test_a_model_given_by_path_is_looked_for_there(tmp_path: Path) -> None:
    place(tmp_path, "multilingual-e5-small")
    mine = tmp_path / "mine.onnx"
    models = Models(directory=tmp_path, default=str(mine))
    assert missing(models) == [str(mine)]

    mine.touch()

    assert missing(models) == []


def test_only_our_own_models_can_be_built() -> None:
    assert how_to_get("multilingual-e5-small") == "run `clawdbot models build`"
    assert "models.default" in how_to_get("models/llama2-7b.onnx")
