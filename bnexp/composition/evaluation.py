"""The words of `bnexp eval RUN KEY=VALUE...`, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

import yaml

from bnexp.errors import ConfigError, suggestion

CHECKPOINTS = ("best", "last")


@dataclass(frozen=True)
class EvalKnobs:
    """How to evaluate a run.

    checkpoint: which weights, best or last; None takes the best, but the last where the best are the initial
        ones, as stale running statistics make them look.
    samples: at most so many examples of the training split to recalibrate by; Wu & Johnson 2021
        (arXiv:2105.07576) find 1,000 to 10,000 enough.
    layer_by_layer: recalibrate each layer behind others that already are, in as many passes as layers.
    fold: also fold norms into the weights before them and measure what that changes.
    save: a new file for the recalibrated weights.
    device, data_dir: other than the run's own.
    """

    checkpoint: str | None = None
    samples: int = 10_000
    layer_by_layer: bool = False
    fold: bool = False
    save: str | None = None
    device: str | None = None
    data_dir: str | None = None


def eval_knobs(words: Sequence[str]) -> EvalKnobs:
    """Read KEY=VALUE words.

    Raises:
        ConfigError: unknown keys, values of another type, or such as cannot work; holds all of them.
    """
    hints = get_type_hints(EvalKnobs)
    problems: list[str] = []
    values: dict[str, Any] = {}
    for word in words:
        name, _, text = word.partition("=")
        if name not in hints or "=" not in word:
            known = ", ".join(field.name for field in fields(EvalKnobs))
            problems.append(f"{word}: eval takes KEY=VALUE with {known}{suggestion(name, hints)}")
            continue
        values[name] = text if hints[name] in (str, str | None) else _plain(text)
        if (line := _mistake(name, values[name], hints[name])) is not None:
            problems.append(line)
    if problems:
        raise ConfigError(problems)
    return EvalKnobs(**values)


def _plain(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _mistake(name: str, value: Any, hint: Any) -> str | None:
    if type(value) is not hint and hint in (int, bool):
        return f"{name} must be {'a whole number' if hint is int else 'true or false'}, got {value!r}"
    if name == "checkpoint" and value not in CHECKPOINTS:
        return f"checkpoint must be {' or '.join(CHECKPOINTS)}, got {value!r}"
    if name == "samples" and value < 2:
        return f"samples must be at least 2, got {value}"
    return f"{name} must not be empty: leave it out" if value == "" else None
