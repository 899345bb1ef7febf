"""Training with callbacks, and its event files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

import diffllama


def recipe(output: Path, steps: int = 3) -> dict[str, Any]:
    return {
        "model": {"from": str(ROOT / "models" / "diffllama-tiny")},
        "data": {"kind": "text", "train": str(ROOT / "README.md"), "sequence_length": 32},
        "training": {"batch_size": 1, "max_steps": steps},
        "checkpoints": {"output_dir": str(output)},
    }


def test_metrics_and_callbacks(tmp_path: Path) -> None:
    class Notes(diffllama.TrainerCallback):
        def __init__(self) -> None:
            self.names: list[str] = []

        def on_train_begin(self, facts: Any) -> None:
            self.names.append("begin")

        def on_step_end(self, metrics: Any) -> None:
            self.names.append("step")

        def on_save(self, checkpoint: str) -> None:
            self.names.append("save")

        def on_train_end(self, result: Any) -> None:
            self.names.append("end")

    notes = Notes()
    result = diffllama.train(recipe(tmp_path / "run"), callbacks=[notes], threads=2, tensorboard=tmp_path / "events")
    assert result.finished and [each["step"] for each in result.metrics if "loss" in each] == [1, 2, 3]
    assert notes.names[0] == "begin" and notes.names[-1] == "end" and notes.names.count("step") == 3
    assert len(result.metrics[0]["lambda"]) == 6 and "<table>" in result._repr_html_()
    assert diffllama.AutoModelForCausalLM.from_pretrained(result.checkpoint).config.vocab_size == 4096
    (events,) = (tmp_path / "events").iterdir()
    data = events.read_bytes()
    for tag in (b"train/loss", b"lambda/layer_05", b"rms/layer_00", b"recipe/text_summary", b"sample/text_summary"):
        assert tag in data


def test_stopping_and_errors(tmp_path: Path) -> None:
    class Stops(diffllama.TrainerCallback):
        def on_step_end(self, metrics: Any) -> None:
            self.should_stop = True

    result = diffllama.train(recipe(tmp_path / "stopped", 50), callbacks=[Stops()], threads=2)
    assert not result.finished and len(result.metrics) == 1

    class Fails(diffllama.TrainerCallback):
        def on_step_end(self, metrics: Any) -> None:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        diffllama.train(recipe(tmp_path / "failed", 50), callbacks=[Fails()], threads=2)
    with pytest.raises(diffllama.ConfigError, match="training.max_stepz"):
        diffllama.train(recipe(tmp_path / "wrong"), training__max_stepz=3)


def test_recipes_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(diffllama.IoError, match="nonexistent.json: No such file"):
        diffllama.train(tmp_path / "nonexistent.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff")
    with pytest.raises(diffllama.FormatError, match="expected UTF-8"):
        diffllama.train(tmp_path / "bytes.json")
    complete = diffllama.training.complete_recipe
    assert complete({"model": {"from": tmp_path}, "training": {"max_steps": np.int64(3)}})["model"]["from"] == str(tmp_path)
    with pytest.raises(diffllama.InvalidArgument, match="recipe: expected .*, got object"):
        complete({"model": {"from": object()}})
    for name in ("on_step_end", "on_evaluate"):
        assert getattr(diffllama.ProgressCallback, name).__doc__
