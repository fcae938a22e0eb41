"""Batch norm of fixed buffers against torchvision's and torch's own."""

from __future__ import annotations

import pytest
import torch
import variant_checks as checks
from batch_norm_checks import SHAPES, batch
from oracles import assert_close
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from bnexp.errors import ConfigError, ShapeError
from bnexp.norms.frozen import FrozenNorm


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_uses_its_buffers_alone(shape: tuple[int, ...]) -> None:
    checks.check_frozen_uses_its_buffers_alone(shape)


def test_it_is_torchvisions_layer() -> None:
    norm, other = checks.frozen(), FrozenBatchNorm2d(3, eps=checks.WIDE_EPS).double()
    other.load_state_dict(norm.state_dict())
    x, x_other, dy = (batch((2, 3, 4, 5), seed) for seed in (0, 0, 1))
    y, y_other = norm(x.requires_grad_()), other(x_other.requires_grad_())
    y.backward(dy)
    y_other.backward(dy)
    assert_close(y, y_other, rtol=1e-12, atol=1e-12)
    assert_close(x.grad, x_other.grad, rtol=1e-12, atol=1e-12)
    norm.load_state_dict(other.state_dict())
    assert repr(FrozenNorm(3, ()).state_dict()) == repr(FrozenBatchNorm2d(3).state_dict())


def test_it_takes_a_trained_batch_norm_and_computes_its_eval() -> None:
    trained = nn.Sequential(nn.BatchNorm2d(3))
    trained(batch((4, 3, 2, 2), dtype=torch.float32))
    frozen = nn.Sequential(FrozenNorm(3, (2, 2)))
    frozen.load_state_dict(trained.state_dict())
    x = batch((4, 3, 2, 2), 1, dtype=torch.float32)
    assert_close(frozen(x), trained.eval()(x), rtol=1e-5, atol=1e-6)


def test_loading_leaves_the_given_state_dict_whole() -> None:
    state = nn.BatchNorm1d(3).state_dict()
    FrozenNorm(3, ()).load_state_dict(state)
    assert "num_batches_tracked" in state


def test_a_large_mean_keeps_its_digits() -> None:
    checks.check_frozen_keeps_the_digits_of_a_large_mean()


def test_one_example_is_enough() -> None:
    assert checks.frozen()(batch((1, 3))).shape == (1, 3)


def test_an_input_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"input must be floating point of shape \(N, 3\).*, got float64"):
        checks.frozen()(batch((4, 5)))


def test_eps_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="eps must be above 0 and finite, got"):
        FrozenNorm(3, (), eps=0.0)
