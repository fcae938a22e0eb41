"""Each likely mistake in renorm, running, noisy and frozen turns at least one check red."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import variant_checks as checks
from torch import Tensor, nn

from bnexp.norms import running
from bnexp.norms.arithmetic import moments
from bnexp.norms.arithmetic.derivatives import normalize_by_batch
from bnexp.norms.custom import CustomNorm
from bnexp.norms.frozen import FrozenNorm
from bnexp.norms.noisy import NoisyNorm
from bnexp.norms.renorm import BatchRenorm
from bnexp.norms.running import RunningNorm

Vectors = tuple[Tensor, Tensor]
corrections, move, move_std = moments.corrections, moments.move, moments.move_std
draw, track, ramp = NoisyNorm._draw, CustomNorm._track, BatchRenorm._ramp
renorm_normalize, running_normalize = BatchRenorm._normalize, RunningNorm._normalize
noisy_normalize, frozen_init = NoisyNorm._normalize, FrozenNorm.__init__
normalized_from = moments.normalized_from


def r_inverted(*given: object) -> Vectors:
    r_C, d_C = corrections(*given)
    return 1 / r_C, d_C


def d_negated(*given: object) -> Vectors:
    r_C, d_C = corrections(*given)
    return r_C, -d_C


def swapped_scale(
    mean_C: Tensor, batch_var_C: Tensor, mu_C: Tensor, var_C: Tensor, eps: float, limits: Vectors
) -> Vectors:
    """d measured in the batch's standard deviations."""
    r_C, _ = corrections(mean_C, batch_var_C, mu_C, var_C, eps, limits)
    d_C = ((mean_C - mu_C) * moments.inverse_std(batch_var_C, eps)).clamp(-limits[1], limits[1])
    return r_C, d_C


def unclipped(*given: object) -> Vectors:
    return corrections(*given[:-1], (torch.tensor(1e9), torch.tensor(1e9)))


def clipped_above_only(
    mean_C: Tensor, batch_var_C: Tensor, mu_C: Tensor, var_C: Tensor, eps: float, limits: Vectors
) -> Vectors:
    r_C, d_C = unclipped(mean_C, batch_var_C, mu_C, var_C, eps, limits)
    return r_C.clamp_max(limits[0]), d_C.clamp_max(limits[1])


def eps_left_out(
    mean_C: Tensor, batch_var_C: Tensor, mu_C: Tensor, var_C: Tensor, eps: float, limits: Vectors
) -> Vectors:
    return corrections(mean_C, batch_var_C, mu_C, var_C, 0.0, limits)


def by_the_averages_after(self: BatchRenorm, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    found = normalize_by_batch(x, None, None, self.eps)
    self._track(*found[1:], x.numel() // self.num_features)
    return renorm_normalize(self, x)


def through_r_and_d(self: BatchRenorm, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where nothing is clipped this is the gradient of evaluation."""
    mean_C, batch_var_C = moments.moments_from(x)
    rstd_C = moments.inverse_std(self.running_var, self.eps)
    y = moments.normalized_from(x, self.running_mean, rstd_C, self.weight, self.bias)
    return y, mean_C.detach(), batch_var_C.detach()


def weight_forgotten_in_the_shift(self: BatchRenorm, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    y, mean_C, batch_var_C = normalize_by_batch(x, self.weight, None, self.eps)
    given = mean_C, batch_var_C, self.running_mean, self.running_var, self.eps, self.limits()
    r_C, d_C = corrections(*given)
    return moments.rescaled_from(y, r_C, d_C + self.bias, x.dtype), mean_C, batch_var_C


def variance_averaged(running_var_C: Tensor, batch_var_C: Tensor, eps: float, momentum: float) -> None:
    move(running_var_C, batch_var_C, momentum)


def bessels_correction(
    self: BatchRenorm, buffers: tuple[Tensor, Tensor], batch: tuple[Tensor, Tensor], n: int, momentum: float
) -> None:
    moments.move(buffers[0], batch[0], momentum)
    move_std(buffers[1], moments.unbiased(batch[1], n), self.eps, momentum)


def std_without_eps(running_var_C: Tensor, batch_var_C: Tensor, eps: float, momentum: float) -> None:
    move_std(running_var_C, batch_var_C, 0.0, momentum)


def below_zero(running_var_C: Tensor, batch_var_C: Tensor, eps: float, momentum: float) -> None:
    moved_C = torch.lerp((running_var_C + eps).sqrt(), (batch_var_C + eps).sqrt(), momentum)
    running_var_C.copy_(moved_C.square() - eps)


def in_steps(self: BatchRenorm) -> Vectors:
    progress = self.num_batches_tracked / 40_000
    return ramp(self, progress, 1.0) * 2 + 1, ramp(self, progress, 0.625) * 5


def one_ramp(self: BatchRenorm, progress: Tensor, full_frac: float) -> Tensor:
    return ramp(self, progress, self.r_full_frac)


def from_the_start(self: BatchRenorm, progress: Tensor, full_frac: float) -> Tensor:
    return (progress / full_frac).clamp(0, 1)


def by_the_batch(x: Tensor, mean_C: Tensor, var_C: Tensor, *rest: object) -> Tensor:
    return normalize_by_batch(x, *rest)[0]


def moved_first(self: RunningNorm, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    _, mean_C, batch_var_C = normalize_by_batch(x, None, None, self.eps)
    self._track(mean_C, batch_var_C, x.numel() // self.num_features)
    y = running.normalize_by(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)
    return y, mean_C, batch_var_C


def through_the_averages(self: RunningNorm, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The right output with batch norm's gradient."""
    y, mean_C, batch_var_C = running_normalize(self, x)
    by_batch = normalize_by_batch(x, self.weight, self.bias, self.eps)[0]
    return by_batch + (y - by_batch).detach(), mean_C, batch_var_C


def not_moving(self: CustomNorm, *given: object) -> None: ...


def one_value_taken(self: RunningNorm, x: Tensor) -> Tensor:
    return running_normalize(self, x)[0]


def noise_of_the_pass(self: NoisyNorm, x: Tensor) -> Vectors:
    """One scale and shift for all examples."""
    scale_NC, shift_NC = draw(self, x)
    return scale_NC[:1].expand_as(scale_NC), shift_NC[:1].expand_as(shift_NC)


def noise_of_all_channels(self: NoisyNorm, x: Tensor) -> Vectors:
    scale_NC, shift_NC = draw(self, x)
    return scale_NC[:, :1].expand_as(scale_NC), shift_NC[:, :1].expand_as(shift_NC)


def centred_noise(self: NoisyNorm, x: Tensor) -> Vectors:
    scale_NC, shift_NC = draw(self, x)
    return scale_NC, shift_NC - shift_NC.mean(0)


def variance_for_deviation(self: NoisyNorm, x: Tensor) -> Vectors:
    scale_NC, shift_NC = draw(self, x)
    return scale_NC.mean(0) + (scale_NC - scale_NC.mean(0)) * self.spread**-0.5, shift_NC


def scale_around_zero(self: NoisyNorm, x: Tensor) -> Vectors:
    scale_NC, shift_NC = draw(self, x)
    return scale_NC - 1, shift_NC


def noise_before_the_affine(self: NoisyNorm, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    xhat, mean_C, batch_var_C = normalize_by_batch(x, None, None, self.eps)
    xhat = moments.rescaled_from(xhat, *self._draw(x), x.dtype)
    weight_C, bias_C = moments.across(self.weight, x.dim()), moments.across(self.bias, x.dim())
    return xhat * weight_C + bias_C, mean_C, batch_var_C


def noise_in_eval(self: NoisyNorm, x: Tensor) -> Tensor:
    y = CustomNorm.forward(self, x)
    return y if self.training else moments.rescaled_from(y, *self._draw(y), x.dtype)


def noise_without_buffers_in_eval(self: NoisyNorm, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    training, self.training = self.training, True
    try:
        return noisy_normalize(self, x)
    finally:
        self.training = training


def noisy_statistics(self: NoisyNorm, mean_C: Tensor, batch_var_C: Tensor, n: int) -> None:
    scale_NC, shift_NC = self._draw(mean_C[None])
    track(self, mean_C + shift_NC[0], batch_var_C * scale_NC[0] ** 2, n)


def eps_outside(var_C: Tensor, eps: float) -> Tensor:
    return 1 / (var_C.sqrt() + eps)


def uncentred(x: Tensor, mean_C: Tensor, rstd_C: Tensor, weight_C: Tensor, bias_C: Tensor) -> Tensor:
    scale_C, ndim = rstd_C * weight_C, x.dim()
    return x * moments.across(scale_C, ndim) + moments.across(bias_C - mean_C * scale_C, ndim)


def learning(self: FrozenNorm, *given: object, **knobs: object) -> None:
    frozen_init(self, *given, **knobs)
    weight = self._buffers.pop("weight")
    self.weight = nn.Parameter(weight)


def drifting(x: Tensor, mean_C: Tensor, *rest: Tensor) -> Tensor:
    y = normalized_from(x, mean_C, *rest)
    move(mean_C, x.detach().transpose(0, 1).flatten(1).mean(1), 0.1)
    return y


MUTANTS: dict[str, tuple[object, str, object, Callable[[], None]]] = {
    "renorm: r inverted": (moments, "corrections", r_inverted, checks.check_renorm_is_the_papers),
    "renorm: d negated": (moments, "corrections", d_negated, checks.check_renorm_is_the_papers),
    "renorm: d in the batch's deviations": (
        moments, "corrections", swapped_scale, checks.check_renorm_is_the_papers,
    ),
    "renorm: no clipping": (moments, "corrections", unclipped, checks.check_renorm_is_the_papers),
    "renorm: clipped above only": (
        moments, "corrections", clipped_above_only, checks.check_renorm_is_the_papers,
    ),
    "renorm: eps left out of the deviations": (
        moments, "corrections", eps_left_out, checks.check_renorm_is_the_papers,
    ),
    "renorm: averages after the batch": (
        BatchRenorm, "_normalize", by_the_averages_after,
        checks.check_unclipped_renorm_is_eval_by_the_averages_before,
    ),
    "renorm: gradient through r and d": (
        BatchRenorm, "_normalize", through_r_and_d,
        checks.check_renorms_gradient_takes_r_and_d_for_constants,
    ),
    "renorm: weight forgotten in the shift": (
        BatchRenorm, "_normalize", weight_forgotten_in_the_shift, checks.check_renorm_is_the_papers,
    ),
    "renorm: variance averaged": (
        moments, "move_std", variance_averaged, checks.check_renorm_averages_standard_deviations,
    ),
    "renorm: Bessel's correction": (
        BatchRenorm, "_move", bessels_correction, checks.check_renorm_averages_standard_deviations,
    ),
    "renorm: eps outside the averaged deviation": (
        moments, "move_std", std_without_eps, checks.check_renorm_averages_standard_deviations,
    ),
    "renorm: variance below zero": (
        moments, "move_std", below_zero, checks.check_constant_channels_leave_renorm_finite,
    ),
    "renorm: schedule in steps": (
        BatchRenorm, "limits", in_steps, checks.check_renorms_schedule_is_scaled_to_the_run,
    ),
    "renorm: one ramp for both limits": (
        BatchRenorm, "_ramp", one_ramp, checks.check_renorms_schedule_is_scaled_to_the_run,
    ),
    "renorm: ramps from the start": (
        BatchRenorm, "_ramp", from_the_start, checks.check_renorms_schedule_is_scaled_to_the_run,
    ),
    "running: by the batch": (
        running, "normalize_by", by_the_batch, checks.check_running_normalizes_by_the_averages_before,
    ),
    "running: averages moved first": (
        RunningNorm, "_normalize", moved_first, checks.check_running_normalizes_by_the_averages_before,
    ),
    "running: gradient through the moments": (
        RunningNorm, "_normalize", through_the_averages,
        checks.check_runnings_gradient_takes_the_averages_for_constants,
    ),
    "running: averages never moved": (
        RunningNorm, "_track", not_moving, checks.check_running_moves_towards_the_batch,
    ),
    "running: one value taken": (
        RunningNorm, "forward", one_value_taken, checks.check_running_refuses_one_value,
    ),
    "noisy: one noise for all examples": (
        NoisyNorm, "_draw", noise_of_the_pass, checks.check_noise_differs_by_pass_and_example,
    ),
    "noisy: one noise for all channels": (
        NoisyNorm, "_draw", noise_of_all_channels, checks.check_noise_has_its_distribution,
    ),
    "noisy: no shift of the channel": (
        NoisyNorm, "_draw", centred_noise, checks.check_noise_has_its_distribution,
    ),
    "noisy: spread taken for a variance": (
        NoisyNorm, "_draw", variance_for_deviation, checks.check_noise_has_its_distribution,
    ),
    "noisy: scale around zero": (
        NoisyNorm, "_draw", scale_around_zero, checks.check_noise_has_its_distribution,
    ),
    "noisy: before weight and bias": (
        NoisyNorm, "_normalize", noise_before_the_affine, checks.check_noise_comes_after_the_whole_batch_norm,
    ),
    "noisy: in eval": (NoisyNorm, "forward", noise_in_eval, checks.check_eval_has_no_noise),
    "noisy: in eval without buffers": (
        NoisyNorm, "_normalize", noise_without_buffers_in_eval, checks.check_eval_has_no_noise,
    ),
    "noisy: in the running statistics": (
        NoisyNorm, "_track", noisy_statistics, checks.check_noise_leaves_the_running_statistics,
    ),
    "frozen: eps outside the root": (
        moments, "inverse_std", eps_outside, checks.check_frozen_uses_its_buffers_alone,
    ),
    "frozen: not centred": (
        moments, "normalized_from", uncentred, checks.check_frozen_keeps_the_digits_of_a_large_mean,
    ),
    "frozen: learning its weight": (
        FrozenNorm, "__init__", learning, checks.check_frozen_uses_its_buffers_alone,
    ),
    "frozen: moving its mean": (
        moments, "normalized_from", drifting, checks.check_frozen_uses_its_buffers_alone,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_the_mistake_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, attribute, mutant, check = MUTANTS[name]
    check()
    monkeypatch.setattr(place, attribute, mutant)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check()
