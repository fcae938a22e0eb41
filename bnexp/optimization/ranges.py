"""The check of a numeric knob, shared by optimizers and schedules."""

from __future__ import annotations

import math

from bnexp.errors import ConfigError

LARGEST = 3.4028234663852886e38  # that float32 holds


def range_problem(
    name: str, value: object, *, at_least: float = 0.0, at_most: float = math.inf, below: float = math.inf
) -> list[str]:
    """Return one line if `value` is no number, outside its range or beyond float32; else an empty list."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if at_least <= value <= at_most and value < below and value <= LARGEST:
            return []
        if value > LARGEST and min(at_most, below) == math.inf:
            return [f"{name} must be finite, also in float32 (at most {LARGEST:.4g}), got {value!r}"]
    upper = f" and below {below:g}" if below < math.inf else ""
    upper = f" and at most {at_most:g}" if at_most < math.inf else upper
    return [f"{name} must be a number of at least {at_least:g}{upper}, got {value!r}"]


def refuse(problems: list[str]) -> None:
    """Raise one ConfigError with all `problems`, if there are any."""
    if problems:
        raise ConfigError(problems)
