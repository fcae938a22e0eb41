"""What one comparison found, and how two tensors are compared."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Status = Literal["pass", "fail", "not applicable"]

EXACT = 0.0
FLOAT64 = 1e-12
# a four-point difference with step h in float64 is off by h^4 and 2^-53 / h: 1e-12 of the loss at h = 1e-4
DIFFERENCES = 1e-8
FLOAT32 = 1e-5
FLOAT32_FLOOR = 0.1


class Inapplicable(Exception):
    """A cell that has no meaning for this norm, at this place or on this machine; says why."""


@dataclass(frozen=True)
class Finding:
    """One comparison: its largest error and the largest that is allowed; tolerance None compares nothing."""

    case: str
    error: float | None = None
    tolerance: float | None = None
    reason: str = ""

    @property
    def status(self) -> Status:
        if self.tolerance is None:
            return "not applicable"
        return "pass" if self.error is not None and self.error <= self.tolerance else "fail"


@dataclass(frozen=True)
class MatrixCell:
    """A finding with its place in the matrix."""

    norm: str
    check: str
    place: str
    finding: Finding

    @property
    def ratio(self) -> float:
        """Return error / tolerance, by which cells are ranked: above 1 a failure, below 0 no comparison."""
        error, tolerance = self.finding.error, self.finding.tolerance
        if tolerance is None:
            return -1.0
        if self.finding.status == "fail":
            return math.inf if not error or tolerance == 0 else error / tolerance
        return error / tolerance if error and tolerance else 0.0


def difference(actual: Tensor, expected: Tensor, floor: float = 1.0) -> float:
    """Return the largest |actual - expected| / (floor + |expected|), infinite where they cannot be compared.

    At most t means within rtol = t and atol = t * floor. Not comparable: other shapes, or a value that is not
    finite where the other one is.
    """
    if actual.shape != expected.shape:
        return math.inf
    if actual.numel() == 0:
        return 0.0
    got, wanted = actual.detach().double(), expected.detach().to(actual.device).double()
    error = (got - wanted).abs() / (floor + wanted.abs())
    error = torch.where(got == wanted, 0.0, error)  # equal infinities are equal
    return float(torch.where(error.isnan(), math.inf, error).max())


def largest(errors: Iterable[float]) -> float:
    return max(errors, default=0.0)


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
