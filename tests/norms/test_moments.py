"""The arithmetic that can lose digits, driven to the points where it would."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_close, to_array
from oracles import moments as exact_moments
from torch import Tensor

from bnexp.norms.arithmetic import moments


def draw(shape: tuple[int, ...], mean: float, std: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * std + mean).to(dtype)


def eager(x: Tensor) -> tuple[Tensor, Tensor]:
    return moments.batch_moments(x)[:2]


Moments = Callable[[Tensor], tuple[Tensor, Tensor]]
BOTH = pytest.mark.parametrize("of", [eager, moments.moments_from], ids=["in_place", "graph"])


@BOTH
@pytest.mark.parametrize("ratio", [0.0, 1.0, 1e3, 1e5])
@pytest.mark.parametrize("shape", [(8, 2), (512, 2), (16, 2, 30, 30)], ids=str)
def test_float32_moments_keep_their_digits(of: Moments, ratio: float, shape: tuple[int, ...]) -> None:
    """The mean to its last digit, the variance to 1e-6; E[x^2] - E[x]^2 is off by 6e-8 * ratio^2."""
    x = draw(shape, mean=ratio)
    mean_C, batch_var_C = of(x)
    each = [exact_moments(to_array(x[:, channel])) for channel in range(2)]
    assert_close(mean_C, torch.tensor([mean for mean, _ in each]), rtol=2**-23, atol=1e-7)
    assert_close(batch_var_C, torch.tensor([var for _, var in each]), rtol=1e-6, atol=0)


@BOTH
@pytest.mark.parametrize("value", [0.0, 1 / 3, 1234.567, -3e7, 1e12], ids=str)
def test_a_constant_channel_has_exactly_its_value_and_no_variance(of: Moments, value: float) -> None:
    x = torch.full((7, 1, 11, 13), value)
    mean_C, batch_var_C = of(x)
    assert_close(mean_C, x[0, :, 0, 0], rtol=0, atol=0)
    assert 0 <= batch_var_C <= (2**-22 * abs(value)) ** 2
    if abs(value) < 2000:
        assert batch_var_C < 1e-8


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.floats(-(2.0**50), 2.0**50, width=32), st.integers(2, 300))
def test_a_variance_is_never_negative(value: float, count: int) -> None:
    assert eager(torch.full((count, 1), value))[1] >= 0


def test_centred_values_come_with_the_moments() -> None:
    x = draw((6, 3, 5), mean=2.0, dtype=torch.float64)
    mean_C, _, centred = moments.batch_moments(x)
    assert_close(centred, x - mean_C.view(3, 1), rtol=0, atol=0)


def test_the_input_is_left_alone() -> None:
    x, dy = draw((6, 3, 5), 2.0), draw((6, 3, 5), 0.0)
    before, dy_before = x.clone(), dy.clone()
    mean_C, batch_var_C, _ = moments.batch_moments(x)
    rstd_C = moments.inverse_std(batch_var_C, 1e-5)
    *sums, buffer = moments.parameter_gradients(dy, x, mean_C, rstd_C)
    moments.input_gradient(dy, x, mean_C, rstd_C, None, tuple(sums), out=buffer)
    assert torch.equal(x, before)
    assert torch.equal(dy, dy_before)


def test_eps_stands_inside_the_root() -> None:
    assert_close(
        moments.inverse_std(torch.tensor([0.0, 3.0]), 1.0), torch.tensor([1.0, 0.5]), rtol=1e-6, atol=0
    )


def test_the_slope_of_the_root_is_finite_at_no_variance() -> None:
    var_C = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    moments.inverse_std(var_C, 1e-4).backward()
    assert_close(var_C.grad, torch.tensor([-0.5 * 1e-4**-1.5]), rtol=1e-12, atol=0)


def test_unbiased_divides_by_one_less() -> None:
    assert_close(moments.unbiased(torch.tensor([3.0]), 4), torch.tensor([4.0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("momentum", "expected"), [(0.0, 8.0), (0.25, 7.0), (1.0, 4.0)])
def test_momentum_weighs_the_new_batch(momentum: float, expected: float) -> None:
    buffer = torch.full((2,), 8.0)
    moments.move(buffer, torch.full((2,), 4.0), momentum)
    assert_close(buffer, torch.full((2,), expected), rtol=0, atol=0)


def test_a_buffer_at_the_batch_value_stays() -> None:
    buffer = torch.tensor([0.1, 1 / 3, 1e-30])
    moments.move(buffer, buffer.clone(), 0.1)
    assert torch.equal(buffer, torch.tensor([0.1, 1 / 3, 1e-30]))


@pytest.mark.parametrize(
    ("given_dtype", "wide"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
    ids=str,
)
def test_nothing_is_computed_below_float32(given_dtype: torch.dtype, wide: torch.dtype) -> None:
    assert moments.widen(torch.zeros(2, dtype=given_dtype)).dtype is wide


@pytest.mark.parametrize("by_batch", [True, False])
def test_both_forms_of_the_gradient_agree(by_batch: bool) -> None:
    x, dy = (
        draw((6, 3, 5), 2.0, dtype=torch.float64),
        draw((5, 3, 6), 1.0, dtype=torch.float64).transpose(0, 2),
    )
    weight_C = torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64)
    mean_C, batch_var_C = eager(x)
    rstd_C = moments.inverse_std(batch_var_C, 0.1)
    dx, dweight_C, dbias_C = moments.gradients_from(dy, x, mean_C, rstd_C, weight_C, by_batch=by_batch)
    own_dweight_C, own_dbias_C, buffer = moments.parameter_gradients(dy, x, mean_C, rstd_C)
    assert_close(own_dweight_C, dweight_C, rtol=1e-12, atol=1e-12)
    assert_close(own_dbias_C, dbias_C, rtol=1e-12, atol=1e-12)
    if by_batch:
        sums = own_dweight_C, own_dbias_C
        moments.input_gradient(dy, x, mean_C, rstd_C, weight_C, sums, out=buffer)
        assert_close(buffer, dx, rtol=1e-12, atol=1e-12)
