"""The words of `bnexp eval RUN KEY=VALUE...`, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_type_hints

from bnexp.config import KNOBS
from bnexp.errors import ConfigError, suggestion
from bnexp.knobs import KEY, Knob, Range, described, knob


def _other(name: str) -> dict[str, Knob]:
    return {KEY: replace(KNOBS[name], about="other than the run's own")}


@dataclass(frozen=True)
class EvalKnobs:
    """How to evaluate a run; None of `checkpoint` passes over the initial weights, which stale running
    statistics make look best."""

    checkpoint: str | None = field(
        default=None,
        metadata=knob("which weights: the best, unless they are the initial ones", names=("best", "last")),
    )
    # Wu & Johnson 2021 (arXiv:2105.07576) find 1,000 to 10,000 examples enough.
    samples: int = field(
        default=10_000, metadata=knob("at most so many training examples to recalibrate by", Range(2))
    )
    layer_by_layer: bool = field(
        default=False, metadata=knob("recalibrate each layer behind others that already are, a pass for each")
    )
    fold: bool = field(
        default=False, metadata=knob("also fold norms into the weights before them and measure the change")
    )
    save: str | None = field(
        default=None, metadata=knob("a new file for the recalibrated weights", holds="path")
    )
    device: str | None = field(default=None, metadata=_other("device"))
    data_dir: str | None = field(default=None, metadata=_other("data_dir"))


EVAL_KNOBS = described(EvalKnobs)


def eval_knobs(words: Sequence[str]) -> EvalKnobs:
    """Read KEY=VALUE words.

    Raises:
        ConfigError: unknown keys, values of another type, or such as cannot work; holds all of them.
    """
    # Here and not above: help reads EVAL_KNOBS, and answers without YAML.
    from bnexp.composition.words import twice

    hints = get_type_hints(EvalKnobs)
    problems = twice(words)
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if name not in EVAL_KNOBS or not equals:
            problems.append(
                f"{word}: eval takes KEY=VALUE with {', '.join(EVAL_KNOBS)}{suggestion(name, EVAL_KNOBS)}"
            )
            continue
        try:
            values[name] = _typed(text, hints[name])
        except ValueError:
            wanted = "a whole number" if hints[name] is int else "true or false"
            problems.append(f"{name} must be {wanted}, got {text!r}")
        else:
            problems += EVAL_KNOBS[name].problems(name, values[name])
    if problems:
        raise ConfigError(problems)
    return EvalKnobs(**values)


def _typed(text: str, hint: Any) -> Any:
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    return int(text) if hint is int else text
