"""Batch Renormalization: batch norm whose training output is drawn towards what evaluation computes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from bnexp.choices import Core
from bnexp.errors import ConfigError
from bnexp.knobs import Range, refuse
from bnexp.norms.arithmetic import moments
from bnexp.norms.arithmetic.correction import normalize_corrected
from bnexp.norms.contract import formulas
from bnexp.norms.contract.promises import Given, Knobs, Promises, State
from bnexp.norms.custom import CustomNorm, torch_batch_norm


def formula(given: Given) -> Tensor:
    """Ioffe 2017, Alg. 1: r and d are constants, by the averages of before the batch."""
    if not given.training:
        return formulas.by_running_statistics(given)
    x, eps, axes = given.x, given.knobs["eps"], formulas.batch_axes(given.x)
    running_mean, running_var = (
        formulas.across(given.state[name], x) for name in ("running_mean", "running_var")
    )
    mean, var = formulas.moments(given.at, axes)
    running_std, (r_max, d_max) = (running_var + eps).sqrt(), promised_limits(given)
    r = ((var + eps).sqrt() / running_std).clamp(1 / r_max, r_max)
    d = ((mean - running_mean) / running_std).clamp(-d_max, d_max)
    return formulas.affine(formulas.standardized(x, axes, eps) * r + d, given.state)


def promised_limits(given: Given) -> tuple[float, float]:
    """Ioffe 2017, section 4, in fractions of the run: from (1, 0), linearly to (r_max, d_max)."""
    knobs, done = given.knobs, float(given.state["num_batches_tracked"]) / given.total_steps
    start = knobs["plain_frac"]
    r_share, d_share = (
        min(1.0, max(0.0, (done - start) / (knobs[name] - start))) for name in ("r_full_frac", "d_full_frac")
    )
    return 1 + r_share * (knobs["r_max"] - 1), d_share * knobs["d_max"]


def averaged_deviations(batches: Sequence[Tensor], start: State, knobs: Knobs) -> dict[str, Tensor]:
    """Running mean, and the square of an average of sqrt(biased var + eps), from which eps is taken away."""
    eps, averaged = knobs["eps"], formulas.averaged_moments(batches, start, knobs)
    stds = [(formulas.moments(x, formulas.batch_axes(x))[1].flatten() + eps).sqrt() for x in batches]
    of_start = (start["running_var"] + eps).sqrt()
    averaged["running_var"] = formulas.weighted(stds, of_start, knobs["momentum"]) ** 2 - eps
    return averaged


@Promises(formula, averaged_deviations, torch_batch_norm, torch_trains_alike=False)
class BatchRenorm(CustomNorm):
    """Normalize by the batch, then correct towards the running averages within limits that widen.

    y = weight * ((x - mean) / std * r + d) + bias with the batch's mean and biased std = sqrt(var + eps),
    r = clip(std / running_std, 1 / r_max, r_max) and d = clip((mean - running_mean) / running_std, -d_max,
    d_max). Both come from the averages of before the batch and are constants to the gradient, which passes
    through mean and std only. Where nothing is clipped y is what evaluation would give,
    weight * (x - running_mean) / running_std + bias; with r_max = 1 and d_max = 0 it is batch norm.

    Then running_mean moves towards mean and running_std towards std: an average of standard deviations,
    without Bessel's correction. It is kept as running_var = running_std^2 - eps, so that state dicts, and
    whatever else reads running averages, mean the same as in batch norm.

    The schedule: r_max = 1 and d_max = 0 for the first `plain_frac` of the run's training passes; from there
    both rise linearly, r_max to its full value at `r_full_frac`, d_max at `d_full_frac`. The passes are
    counted by num_batches_tracked, so a resumed run goes on where it was. Until `set_total_steps` the end is
    infinitely far and the layer stays at the beginning: batch norm, if plain_frac > 0.

    Shape: x (N, C) or (N, C, *), * up to three axes -> same shape, dtype and memory format.
        weight, bias, running_mean, running_var: (C,), named as in torch, so state dicts go both ways.
    Args:
        num_features, spatial, eps, momentum, affine, core: as in `CustomNorm`; the source's momentum is 0.01.
        r_max: largest r, at least 1; 1 / r_max is the smallest.
        d_max: largest |d|, at least 0.
        plain_frac, r_full_frac, d_full_frac: fractions of the run, plain_frac the smallest.
    Raises:
        ConfigError: as in `CustomNorm`, or a limit or fraction is out of range.
        ShapeError: x does not fit, or a training batch has one value per channel.
    Precision: float16 and bfloat16 are computed in float32 and cast back; float64 stays float64.
    Source: Ioffe 2017, arXiv:1702.03275, Alg. 1. Departs from it in: the schedule of its section 4, given in
        steps of one training, is scaled to the run's length; eps inside the root, as in batch norm.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        num_features: int,
        spatial: tuple[int, ...],
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        r_max: float = 3.0,
        d_max: float = 5.0,
        plain_frac: float = 0.1,
        r_full_frac: float = 0.8,
        d_full_frac: float = 0.5,
        core: Core = "auto",
    ) -> None:
        super().__init__(num_features, spatial, eps=eps, momentum=momentum, affine=affine, core=core)
        _check(r_max, d_max, (plain_frac, r_full_frac, d_full_frac))
        self.r_max, self.d_max, self.plain_frac = r_max, d_max, plain_frac
        self.r_full_frac, self.d_full_frac = r_full_frac, d_full_frac
        self.total_steps = math.inf

    def set_total_steps(self, total_steps: int) -> None:
        """Scale the schedule to a run of `total_steps` training passes, those before a resume included."""
        self.total_steps = total_steps

    def limits(self) -> tuple[Tensor, Tensor]:
        """Return r_max and d_max for the next training pass, on the layer's device."""
        progress = moments.widen(self.num_batches_tracked.to(self.running_var.dtype)) / self.total_steps
        wide_r = self._ramp(progress, self.r_full_frac) * (self.r_max - 1) + 1
        return wide_r, self._ramp(progress, self.d_full_frac) * self.d_max

    def _ramp(self, progress: Tensor, full_frac: float) -> Tensor:
        if full_frac == self.plain_frac:
            return (progress >= full_frac).to(progress.dtype)
        return ((progress - self.plain_frac) / (full_frac - self.plain_frac)).clamp(0, 1)

    def _normalize(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return normalize_corrected(x, self.weight, self.bias, self.eps, self.core, self._correct)

    def _correct(self, mean_C: Tensor, batch_var_C: Tensor) -> tuple[Tensor, Tensor]:
        running = self.running_mean, self.running_var
        return moments.corrections(mean_C, batch_var_C, *running, self.eps, self.limits())

    def _move(
        self, buffers: tuple[Tensor, Tensor], batch: tuple[Tensor, Tensor], n: int, momentum: float | Tensor
    ) -> None:
        moments.move(buffers[0], batch[0], momentum)
        moments.move_std(buffers[1], batch[1], self.eps, momentum)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, r_max={self.r_max}, d_max={self.d_max}"


def _check(r_max: float, d_max: float, fractions: tuple[float, float, float]) -> None:
    plain, r_full, d_full = fractions
    refuse(Range(1).problems("r_max", r_max) + Range(0).problems("d_max", d_max))
    if not (0 <= plain <= min(r_full, d_full) and max(r_full, d_full) <= 1):
        raise ConfigError(
            "fractions of the run must satisfy 0 <= plain_frac <= r_full_frac, d_full_frac <= 1, got "
            f"plain_frac={plain}, r_full_frac={r_full}, d_full_frac={d_full}"
        )
