"""When telemetry looks, and what of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Due:
    """What is to be logged at one step."""

    scalars: bool
    histograms: bool


@dataclass(frozen=True)
class Intervals:
    """Steps between scalars and between histograms, from step 0 on; None is never."""

    scalars_every: int | None
    histograms_every: int | None

    def at(self, step: int) -> Due:
        return Due(_due(self.scalars_every, step), _due(self.histograms_every, step))


def _due(every: int | None, step: int) -> bool:
    return every is not None and step % every == 0
