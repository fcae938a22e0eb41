"""Filter response normalization: the paper's formula, its threshold, and eps that is learned."""

from __future__ import annotations

from functools import partial

import example_norm_oracles as oracle
import pytest
import torch
from example_norm_oracles import draw, stir
from oracles import Array, assert_close, to_array
from torch import nn

from bnexp.errors import ConfigError, ShapeError
from bnexp.norms.contract.traits import bind
from bnexp.norms.frn import FilterResponseNorm

EPS = 0.5
SHAPES = [(2, 3, 5), (2, 3, 4, 3), (1, 3, 2, 2, 2)]


def made(spatial: tuple[int, ...], **knobs: float) -> nn.Module:
    """Return a float64 layer of 3 channels whose parameters all differ, its threshold amid its outputs."""
    norm = stir(FilterResponseNorm(3, spatial, **knobs))
    with torch.no_grad():
        norm.tau.copy_(norm.bias + 0.4 * norm.weight + torch.tensor([0.01, -0.02, 0.03]))
    return norm


def wanted(norm: nn.Module, x: torch.Tensor, eps: float) -> Array:
    """Return what the paper says, after a look that the threshold neither hides all values nor none."""
    parameters = (to_array(value) for value in (norm.weight, norm.bias, norm.tau))
    y = oracle.frn(to_array(x), *parameters, eps)
    tau = to_array(norm.tau.detach().view(-1, *(1 for _ in x.shape[2:])))
    assert 0.2 < (y > tau).mean() < 0.8
    return y


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_the_papers_formula(shape: tuple[int, ...], training: bool) -> None:
    norm, x = made(shape[2:], eps=EPS).train(training), draw(shape)
    assert_close(norm(x), wanted(norm, x, EPS), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("spatial", [(), (1,), (1, 1)], ids=str)
@pytest.mark.parametrize("learned", [0.3, -0.3])
def test_one_value_per_channel_learns_eps_by_its_size(spatial: tuple[int, ...], learned: float) -> None:
    norm, x = made(spatial, eps=EPS), draw((4, 3, *spatial))
    with torch.no_grad():
        norm.learned_eps.fill_(learned)
    assert_close(norm(x), wanted(norm, x, EPS + 0.3), rtol=1e-12, atol=1e-12)


def test_the_learned_eps_starts_at_1e_4_and_exists_only_where_needed() -> None:
    assert FilterResponseNorm(3, ()).learned_eps.item() == pytest.approx(1e-4, rel=1e-6)
    assert FilterResponseNorm(3, (2, 2)).learned_eps is None


def test_a_dense_unit_gets_a_gradient_that_a_sign_would_not() -> None:
    x = torch.tensor([[0.01, -0.02, 0.03]], requires_grad=True)
    norm = FilterResponseNorm(3, ())
    with torch.no_grad():
        norm.tau.fill_(-10)
    (gradient,) = torch.autograd.grad(norm(x).sum(), x)
    # of x / sqrt(x^2 + e): e / (x^2 + e)^(3/2)
    expected = 1.01e-4 / (x.detach().double() ** 2 + 1.01e-4) ** 1.5
    assert_close(gradient, expected, rtol=1e-5, atol=0)


def test_the_threshold_starts_as_relu_and_learns_below_it() -> None:
    norm, x = FilterResponseNorm(3, (4, 4)).double(), draw((2, 3, 4, 4))
    y = norm(x)
    assert_close(y[x < 0], torch.zeros_like(y[x < 0]), rtol=0, atol=0)
    y.sum().backward()
    assert_close(norm.tau.grad, (x < 0).sum((0, 2, 3)).double(), rtol=0, atol=0)


def test_a_channel_of_zeros_gives_its_bias_and_finite_gradients() -> None:
    norm, x = stir(FilterResponseNorm(3, (4, 4))), torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    x.requires_grad_()
    y = norm(x)
    peak = torch.maximum(norm.bias, norm.tau).view(-1, 1, 1).expand_as(y)
    assert_close(y, peak, rtol=0, atol=0)
    y.sum().backward()
    assert x.grad.isfinite().all()


def test_it_is_invariant_to_a_channels_scale_but_not_to_its_mean() -> None:
    norm, x = FilterResponseNorm(3, (4, 4), eps=1e-30).double(), draw((2, 3, 4, 4))
    assert_close(norm(7 * x), norm(x), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(norm(x + 1), norm(x))


@pytest.mark.parametrize("shape", [(2, 3, 2, 2), (2, 3)], ids=str)
def test_second_derivatives_agree_with_finite_differences(shape: tuple[int, ...]) -> None:
    norm, x = made(shape[2:], eps=0.1), draw(shape)
    wanted(norm, x, 0.1)
    assert torch.autograd.gradgradcheck(norm, (x.requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("parameters", ["float32", "cast"])
def test_low_precision_rounds_the_result_once(dtype: torch.dtype, parameters: str) -> None:
    norm = FilterResponseNorm(4, (6, 6))
    x = (draw((2, 4, 6, 6)) * 300).to(dtype)  # whose squares overflow float16
    expected = norm.double()(x.double())
    norm = norm.float() if parameters == "float32" else norm.to(dtype)
    y = norm(x)
    assert y.dtype is dtype
    assert_close(y, expected, rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_single_precision_agrees_with_double() -> None:
    norm, x = FilterResponseNorm(4, (28, 28)), draw((2, 4, 28, 28), dtype=torch.float32) + 1e3
    expected = FilterResponseNorm(4, (28, 28)).double()(x.double())
    assert_close(norm(x), expected, rtol=1e-5, atol=1e-6)


def test_channels_last_gives_the_same() -> None:
    norm, x = made((3, 4)), draw((2, 3, 3, 4))
    assert_close(norm(x.to(memory_format=torch.channels_last)), norm(x), rtol=1e-12, atol=1e-12)


def test_an_empty_batch_stays_empty() -> None:
    x = torch.zeros(0, 3, 4, 4, requires_grad=True)
    y = FilterResponseNorm(3, (4, 4))(x)
    y.sum().backward()
    assert (y.shape, x.grad.shape) == (x.shape, x.shape)


def test_it_takes_the_activations_place() -> None:
    assert bind(partial(FilterResponseNorm)).replaces_activation


@pytest.mark.parametrize("shape", [(2, 4, 3, 3), (3,), (2, 3, 1, 1, 1, 1)], ids=str)
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"input must be floating point of shape \(N, 3\) or"):
        FilterResponseNorm(3, (3, 3))(torch.zeros(shape))


def test_whole_numbers_are_refused() -> None:
    with pytest.raises(ShapeError, match="got int64"):
        FilterResponseNorm(3, (3, 3))(torch.zeros(2, 3, 3, 3, dtype=torch.int64))


def test_eps_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="eps must be above 0 and finite, got -1"):
        FilterResponseNorm(3, (), eps=-1.0)
