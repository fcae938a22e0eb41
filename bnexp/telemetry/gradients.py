"""The gradients before the update: their length together, and the values of each parameter's."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from bnexp import private
from bnexp.protocols import Batch, Measurement, Reading
from bnexp.telemetry.counting import GRADIENTS, count, histograms
from bnexp.telemetry.intervals import Intervals


class GradientNorm:
    """Measures `grad_norm`, the L2 norm over all gradients taken as one vector.

    grad_norm = sqrt(sum over all parameters and elements of grad^2), 0 without gradients.
    Gradients scaled for float16 must have been unscaled before.
    """

    def __init__(self, intervals: Intervals) -> None:
        self._intervals = intervals
        self._parameters: list[nn.Parameter] = []

    def due(self, step: int) -> bool:
        return self._intervals.at(step).scalars

    def end(self, step: int) -> None:
        self._intervals.last = step

    def watching(self, model: nn.Module, batch: Batch, step: int) -> AbstractContextManager[None]:
        return nullcontext()

    def measure(self, model: nn.Module, step: int) -> list[Reading]:
        # kept, because to walk through the modules takes as long as to compute the norm
        self._parameters = self._parameters or list(model.parameters())
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        norms = private.norms(gradients) if gradients else [torch.zeros(())]
        norm = torch.linalg.vector_norm(torch.stack(norms)).reshape(1)
        return [Reading(norm, lambda values: Measurement({"grad_norm": values[0]}))]


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

    def end(self, step: int) -> None:
        self._intervals.last = step

    def watching(self, model: nn.Module, batch: Batch, step: int) -> AbstractContextManager[None]:
        return nullcontext()

    def measure(self, model: nn.Module, step: int) -> list[Reading]:
        counts = {
            f"gradient/{name}": count(parameter.grad, GRADIENTS)
            for name, parameter in self._parameters.items()
            if parameter.grad is not None
        }
        return [histograms(counts, self._non_finite_tags)] if counts else []
