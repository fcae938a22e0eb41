"""What goes into each norm layer and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bnexp.protocols import Measurement, Reading
from bnexp.telemetry.counting import ACTIVATIONS, Counted, count, histograms
from bnexp.telemetry.intervals import Due
from bnexp.telemetry.percentiles import PERCENTILES, Sampler, percentiles


class Activations:
    """Observes `percentile/<layer>/in|out/15|50|85`, `nonfinite/<layer>` and `activation/<layer>/in|out`.

    Percentiles are those of a fixed sample. Non-finite values are counted in the whole output; no histogram
    counts them.

    Args:
        layers: qualified names.
    """

    def __init__(self, layers: Sequence[str]) -> None:
        sides = [f"{layer}/{side}" for layer in layers for side in ("in", "out")]
        self.histogram_tags = [f"activation/{side}" for side in sides]
        self._percentile_tags = {side: [f"percentile/{side}/{p}" for p in PERCENTILES] for side in sides}
        self._non_finite_tags = {f"activation/{layer}/out": f"nonfinite/{layer}" for layer in layers}
        self._sample = Sampler()

    def begin(self, due: Due) -> None:
        self._due = due
        self._samples: dict[str, Tensor] = {}
        self._non_finite: dict[str, Tensor] = {}
        self._counts: dict[str, Counted] = {}

    def enter(self, layer: str, x: Tensor) -> None:
        self._look(f"{layer}/in", x)

    def leave(self, layer: str, y: Tensor) -> None:
        self._look(f"{layer}/out", y)
        if self._due.scalars:
            # y - y is 0 where y is finite and not-a-number elsewhere; isfinite takes four times as long
            self._non_finite[f"nonfinite/{layer}"] = (y - y).count_nonzero()

    def readings(self) -> list[Reading]:
        found = []
        if self._samples:
            tags = [tag for side in self._samples for tag in self._percentile_tags[side]]
            found.append(_scalars(tags, percentiles(list(self._samples.values())).flatten()))
        if self._non_finite:
            found.append(_scalars(list(self._non_finite), torch.stack(list(self._non_finite.values()))))
        if self._counts:
            found.append(histograms(self._counts, self._non_finite_tags))
        return found

    def _look(self, side: str, values: Tensor) -> None:
        if self._due.scalars and values.numel():
            self._samples[side] = self._sample(values)
        if self._due.histograms:
            self._counts[f"activation/{side}"] = count(values, ACTIVATIONS)


def _scalars(tags: Sequence[str], values: Tensor) -> Reading:
    return Reading(values, lambda numbers: Measurement(dict(zip(tags, numbers, strict=True))))
