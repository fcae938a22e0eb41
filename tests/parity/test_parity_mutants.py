"""Each classic mistake in batch normalization turns cells of the matrix red."""

from __future__ import annotations

import pytest
import torch
from norm_subjects import failed, found, subject
from torch import Tensor

from bnexp.norms import custom
from bnexp.norms.arithmetic import derivatives, moments
from bnexp.norms.custom import CustomNorm
from bnexp.parity.specimen import DENSE, PLANE

batch_moments, inverse_std, move, forward = (
    moments.batch_moments,
    moments.inverse_std,
    moments.move,
    CustomNorm.forward,
)


def unbiased_to_normalize(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mean_C, batch_var_C, centred = batch_moments(x)
    n = x.numel() // x.shape[1]
    return mean_C, batch_var_C * (n / (n - 1)), centred


def naive(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dims = (0, *range(2, x.dim()))
    mean_C = x.mean(dims)
    return mean_C, x.square().mean(dims) - mean_C.square(), x - moments.across(mean_C, x.dim())


def eps_outside(var_C: Tensor, eps: float) -> Tensor:
    return 1 / (var_C.sqrt() + eps)


def eval_by_the_batch(x: Tensor, mean_C: Tensor, var_C: Tensor, *rest: object) -> Tensor:
    return derivatives.normalize_by_batch(x, *rest)[0]


def updating_in_eval(self: CustomNorm, x: Tensor) -> Tensor:
    y = forward(self, x)
    if not self.training:
        moments.move(self.running_mean, x.detach().mean((0, *range(2, x.dim()))), 0.1)
    return y


def with_history(buffer_C: Tensor, value_C: Tensor, momentum: float) -> None:
    buffer_C.copy_(torch.lerp(buffer_C, value_C * torch.ones((), requires_grad=True), momentum))


def accepting_one_value(self: CustomNorm, x: Tensor) -> Tensor:
    return x if self.training and x.numel() == self.num_features else forward(self, x)


MUTANTS = {
    "biased variance stored": (moments, "unbiased", lambda v, n: v, "running statistics"),
    "unbiased variance normalizes": (moments, "batch_moments", unbiased_to_normalize, "forward"),
    "momentum flipped": (moments, "move", lambda b, v, m: move(b, v, 1 - m), "momentum kinds"),
    "eps outside the root": (moments, "inverse_std", eps_outside, "forward"),
    "eval by the batch": (custom, "normalize_by", eval_by_the_batch, "evaluation"),
    "buffers updated in eval": (CustomNorm, "forward", updating_in_eval, "evaluation"),
    "buffer carrying a graph": (moments, "move", with_history, "buffers"),
    "naive variance": (moments, "batch_moments", naive, "mean/std 1000"),
    "one value accepted": (CustomNorm, "forward", accepting_one_value, "one value"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_matrix_sees_it(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, name, wrong, check = MUTANTS[mutant]
    norm = subject("custom")
    assert failed(found(norm, check, places=(DENSE, PLANE))) == set()
    monkeypatch.setattr(place, name, wrong)
    assert failed(found(norm, check, places=(DENSE, PLANE)))
