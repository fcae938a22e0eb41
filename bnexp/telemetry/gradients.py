"""The gradient of each parameter, before the update."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

from torch import nn

from bnexp.protocols import Batch, Reading
from bnexp.telemetry.counting import GRADIENTS, count
from bnexp.telemetry.intervals import Intervals
from bnexp.telemetry.readings import histograms


class GradientProbe:
    """Measures `gradient/<parameter>`, and `nonfinite/<parameter>`: how many of its values are not finite.

    The gradient of the mean loss over all passes of the step, at its true scale. Parameters without a
    gradient are left out.

    Args:
        parameters: by qualified name, of the network that is trained.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], intervals: Intervals) -> None:
        self._parameters, self._intervals = parameters, intervals
        self._non_finite_tags = {f"gradient/{name}": f"nonfinite/{name}" for name in parameters}

    def due(self, step: int) -> bool:
        return self._intervals.at(step).histograms

    def watching(self, model: nn.Module, batch: Batch, step: int) -> AbstractContextManager[None]:
        return nullcontext()

    def measure(self, model: nn.Module, step: int) -> list[Reading]:
        counts = {
            f"gradient/{name}": count(parameter.grad, GRADIENTS)
            for name, parameter in self._parameters.items()
            if parameter.grad is not None
        }
        return [histograms(counts, self._non_finite_tags)] if counts else []
