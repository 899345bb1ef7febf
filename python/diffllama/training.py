"""Training by a recipe, as `diffllama train` does it, with callbacks in Python."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import _core
from .files import read_text


class TrainerCallback:
    """What is told while a run goes on: derive, and give it to train(callbacks=[...]).

    An exception that a method raises ends the run after it has saved, and is raised by train.
    """

    should_stop: bool = False
    """Set it, and the run saves and stops before its next step."""

    def on_train_begin(self, facts: dict[str, Any]) -> None:
        """parameters, trained, examples, validation_examples, max_steps, first_step."""

    def on_step_end(self, metrics: dict[str, Any]) -> None:
        """step, epoch, loss, learning_rate, gradient_norm, tokens, tokens_per_second, mfu (None
        where unknown), skipped, and by layer lambda, rms and smallest_rms."""

    def on_evaluate(self, metrics: dict[str, Any]) -> None:
        """step, eval_loss and, where there are classes, eval_accuracy."""

    def on_save(self, checkpoint: str) -> None:
        """The directory of a checkpoint that was written."""

    def on_train_end(self, result: TrainingResult) -> None:
        """The run has ended."""


class ProgressCallback(TrainerCallback):
    """Prints a line every `every` steps, and each evaluation."""

    def __init__(self, every: int = 10) -> None:
        self.every = every

    def on_step_end(self, metrics: dict[str, Any]) -> None:
        """Prints step, loss and tokens per second of every `every`-th step."""
        if metrics["step"] % self.every == 0:
            print(f"step {metrics['step']}: loss {metrics['loss']:.4f}, {metrics['tokens_per_second']:.0f} tokens/s", flush=True)

    def on_evaluate(self, metrics: dict[str, Any]) -> None:
        """Prints all that was measured."""
        print(", ".join(f"{name} {value:.4g}" for name, value in metrics.items()), flush=True)


@dataclass
class TrainingResult:
    """A run that has ended. finished: False where it was asked to stop. checkpoint: its last.
    metrics: of every step and evaluation, in order. facts: what it began with."""

    finished: bool
    checkpoint: str
    metrics: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def to_pandas(self) -> Any:
        """The metrics as a pandas frame, a row for each step or evaluation."""
        import pandas

        return pandas.DataFrame(self.metrics)

    def _repr_html_(self) -> str:
        rows = [m for m in self.metrics if "loss" in m or "eval_loss" in m][-20:]
        names = ("step", "loss", "eval_loss", "eval_accuracy", "learning_rate", "tokens_per_second")
        head = "".join(f"<th>{name}</th>" for name in names)
        body = "".join(
            "<tr>" + "".join(f"<td>{row[n]:.6g}</td>" if n in row else "<td></td>" for n in names) + "</tr>" for row in rows
        )
        return f"<p>{'finished' if self.finished else 'stopped'}: {self.checkpoint}</p><table><tr>{head}</tr>{body}</table>"


def train(
    recipe: dict[str, Any] | str | os.PathLike[str],
    *,
    callbacks: Sequence[TrainerCallback] = (),
    resume: bool = False,
    threads: int = 0,
    measure_peak: bool = False,
    tensorboard: str | os.PathLike[str] | None = None,
    **fields: Any,
) -> TrainingResult:
    """Does what a recipe says: model, data, training, checkpoints (docs/training.md).

    recipe: a dictionary of sections, or the path of a JSON file. fields: single ones with __ for
    the dot, training__max_steps=10. callbacks: told of steps, evaluations and checkpoints.
    resume: goes on from the newest checkpoint of checkpoints.output_dir. threads: 0 is one a core;
    never changes a result. measure_peak: measures the machine first, for mfu. tensorboard: a
    directory for event files.

    Ctrl-C saves, stops and raises KeyboardInterrupt. Raises IoError, FormatError, ConfigError,
    InvalidArgument, TrainingError.
    """
    where = "recipe"
    if isinstance(recipe, dict):
        text = json.dumps(recipe, default=_plain)
    else:
        where = str(recipe)
        text = read_text(Path(recipe))
    for name, value in fields.items():
        text = _core.set_recipe_field(text, name.replace("__", ".", 1), value if isinstance(value, str) else json.dumps(value, default=_plain))
    _core.validate_recipe(text, where)
    result = TrainingResult(False, "")

    def on_event(event: str, payload: Any) -> Any:
        if event == "stop?":
            return any(callback.should_stop for callback in callbacks)
        if event == "start":
            result.facts = payload
        elif event in ("step", "evaluation"):
            result.metrics.append(payload)
        method = {"start": "on_train_begin", "step": "on_step_end", "evaluation": "on_evaluate", "save": "on_save"}.get(event)
        for callback in callbacks if method else ():
            getattr(callback, str(method))(payload)
        return None

    end = _core.train(text, on_event, resume, threads, measure_peak, "" if tensorboard is None else tensorboard)
    result.finished, result.checkpoint = end["finished"], end["checkpoint"]
    for callback in callbacks:
        callback.on_train_end(result)
    return result


def _plain(value: Any) -> Any:
    """Paths as text, and numpy's numbers as Python's."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise _core.InvalidArgument(f"recipe: expected text, numbers, lists and dictionaries, got {type(value).__name__}")


def complete_recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe with every default. Raises ConfigError for unknown names."""
    completed: dict[str, Any] = json.loads(_core.complete_recipe(json.dumps(recipe, default=_plain)))
    return completed


def recipe_fields() -> list[tuple[str, Any, str]]:
    """Every field of a recipe: its name, default and help."""
    return [(name, json.loads(default), text) for name, default, text in _core.recipe_fields()]
