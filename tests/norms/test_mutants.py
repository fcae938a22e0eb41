"""Each classic mistake in batch normalization turns at least one check red."""

from __future__ import annotations

from collections.abc import Callable

import batch_norm_checks as checks
import pytest
import torch
from torch import Tensor

from bnexp.norms import custom
from bnexp.norms.arithmetic import compiled, derivatives, moments
from bnexp.norms.custom import CustomNorm

batch_moments, move, forward = moments.batch_moments, moments.move, CustomNorm.forward
input_gradient, parameter_gradients = moments.input_gradient, moments.parameter_gradients


def always_unbiased(
    self: CustomNorm, buffers: tuple[Tensor, Tensor], batch: tuple[Tensor, Tensor], n: int, momentum: float
) -> None:
    move(buffers[0], batch[0], momentum)
    move(buffers[1], moments.unbiased(batch[1], n), momentum)


def eps_outside(var_C: Tensor, eps: float) -> Tensor:
    return 1 / (var_C.sqrt() + eps)


def unbiased_to_normalize(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mean_C, batch_var_C, centred = batch_moments(x)
    n = x.numel() // x.shape[1]
    return mean_C, batch_var_C * (n / (n - 1)), centred


def naive_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dims = (0, *range(2, x.dim()))
    mean_C = x.mean(dims)
    return mean_C, x.square().mean(dims) - mean_C.square(), x - moments.across(mean_C, x.dim())


def eval_by_the_batch(x: Tensor, mean_C: Tensor, var_C: Tensor, *rest: object) -> Tensor:
    return derivatives.normalize_by_batch(x, *rest)[0]


def updating_in_eval(self: CustomNorm, x: Tensor) -> Tensor:
    y = forward(self, x)
    if not self.training:
        mean_C, batch_var_C = moments.moments_from(x)
        self._track(mean_C, batch_var_C, x.numel() // self.num_features)
    return y


def with_history(
    x: Tensor, weight_C: Tensor, bias_C: Tensor, eps: float, *rest: object
) -> tuple[Tensor, Tensor, Tensor]:
    mean_C, batch_var_C = moments.moments_from(x)
    rstd_C = moments.inverse_std(batch_var_C, eps)
    return moments.normalized_from(x, mean_C, rstd_C, weight_C, bias_C), mean_C, batch_var_C


def rebinding(self: CustomNorm, mean_C: Tensor, batch_var_C: Tensor, n: int) -> None:
    self.running_mean = torch.lerp(self.running_mean, mean_C, self.momentum)


def accepting_one_value(self: CustomNorm, x: Tensor) -> Tensor:
    if self.training and x.numel() == self.num_features:
        return derivatives.normalize_by_batch(x, self.weight, self.bias, self.eps)[0]
    return forward(self, x)


def ignoring_the_moments_share(
    dy: Tensor, x: Tensor, mean_C: Tensor, rstd_C: Tensor, weight_C: Tensor, sums_C: object, *, out: Tensor
) -> Tensor:
    return dy * moments.across(moments.scale(rstd_C, weight_C), x.dim())


def ignoring_the_variances_share(
    dy: Tensor,
    x: Tensor,
    mean_C: Tensor,
    rstd_C: Tensor,
    weight_C: Tensor,
    sums_C: tuple[Tensor, Tensor],
    *,
    out: Tensor,
) -> Tensor:
    without = torch.zeros_like(sums_C[0]), sums_C[1]
    return input_gradient(dy, x, mean_C, rstd_C, weight_C, without, out=out)


def unscaled_weight_gradient(
    dy: Tensor, x: Tensor, mean_C: Tensor, rstd_C: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    dweight_C, dbias_C, buffer = parameter_gradients(dy, x, mean_C, rstd_C)
    return dweight_C / rstd_C, dbias_C, buffer


def check_the_biased_variance_is_averaged() -> None:
    checks.check_running_statistics(running_var="biased")


MUTANTS: dict[str, tuple[object, str, object, Callable[[], None]]] = {
    "biased variance stored": (
        moments, "unbiased", lambda var_C, n: var_C, checks.check_running_statistics,
    ),
    "unbiased variance stored where the biased is asked for": (
        CustomNorm, "_move", always_unbiased, check_the_biased_variance_is_averaged,
    ),
    "unbiased variance normalizes": (
        moments, "batch_moments", unbiased_to_normalize, checks.check_training_normalizes_by_the_batch,
    ),
    "momentum flipped": (
        moments, "move", lambda b, v, m: move(b, v, 1 - m), checks.check_running_statistics,
    ),
    "eps outside the root in training": (
        moments, "inverse_std", eps_outside, checks.check_training_normalizes_by_the_batch,
    ),
    "eps outside the root in eval": (
        moments, "inverse_std", eps_outside, checks.check_eval_uses_running_statistics,
    ),
    "eval by the batch": (
        custom, "normalize_by", eval_by_the_batch, checks.check_eval_uses_running_statistics,
    ),
    "buffers updated in eval": (
        CustomNorm, "forward", updating_in_eval, checks.check_eval_leaves_the_buffers,
    ),
    "buffer with history": (
        custom, "normalize_by_batch", with_history, checks.check_buffers_have_no_history,
    ),
    "buffer replaced": (
        CustomNorm, "_track", rebinding, checks.check_buffers_have_no_history,
    ),
    "buffers never moved": (
        moments, "move", lambda b, v, m: None, checks.check_running_statistics,
    ),
    "naive variance": (
        moments, "batch_moments", naive_moments, checks.check_large_mean_keeps_its_digits,
    ),
    "one value accepted": (
        CustomNorm, "forward", accepting_one_value, checks.check_one_value_is_refused,
    ),
    "moments constant in the backward pass": (
        moments, "input_gradient", ignoring_the_moments_share, checks.check_gradients_are_the_papers,
    ),
    "variance constant in the backward pass": (
        moments, "input_gradient", ignoring_the_variances_share, checks.check_gradients_are_the_papers,
    ),
    "weight gradient by centred x": (
        moments, "parameter_gradients", unscaled_weight_gradient, checks.check_gradients_are_the_papers,
    ),
    "weight forgotten": (
        moments, "scale", lambda rstd_C, weight_C: rstd_C, checks.check_training_normalizes_by_the_batch,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_the_mistake_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, attribute, mutant, check = MUTANTS[name]
    for name in ("usable", "movable"):  # the compiled core has tests of its own
        monkeypatch.setattr(compiled, name, lambda *tensors: False)
    check()
    monkeypatch.setattr(place, attribute, mutant)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check()
