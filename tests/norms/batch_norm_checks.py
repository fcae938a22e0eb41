"""What batch normalization must do, as functions that fail: the tests call them, and so do the mutants."""

from __future__ import annotations

import pytest
import torch
from oracles import (
    assert_close,
    batch_norm,
    batch_norm_backward,
    batch_norm_eval,
    moments,
    running_statistics,
    to_array,
)
from torch import Tensor

from bnexp.choices import RunningVar
from bnexp.errors import ShapeError
from bnexp.norms.custom import CustomNorm

SHAPES = [(7, 3), (2, 3), (5, 3, 4), (2, 3, 4, 5), (1, 3, 2, 2), (2, 3, 2, 3, 2)]
WIDE_EPS = 0.5  # of the size of the variance, so that its place in the formula shows


def layer(**knobs: object) -> CustomNorm:
    """Return a float64 layer of 3 channels whose parameters and buffers all differ."""
    norm = CustomNorm(3, (), **knobs).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            if tensor is not None:
                tensor.copy_(torch.randn(3, generator=generator))
        if norm.running_var is not None:
            norm.running_var.copy_(torch.rand(3, generator=generator) + 0.5)
    return norm


def batch(
    shape: tuple[int, ...], seed: int = 0, mean: float = 2.0, dtype: torch.dtype = torch.float64
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) + mean).to(dtype)


def check_training_normalizes_by_the_batch(shape: tuple[int, ...] = (5, 3, 4)) -> None:
    norm, x = layer(eps=WIDE_EPS), batch(shape)
    expected = batch_norm(to_array(x), to_array(norm.weight), to_array(norm.bias), WIDE_EPS)
    assert_close(norm(x), expected, rtol=1e-12, atol=1e-12)


def check_gradients_are_the_papers(shape: tuple[int, ...] = (5, 3, 4)) -> None:
    norm, x, dy = layer(eps=WIDE_EPS), batch(shape).requires_grad_(), batch(shape, seed=1)
    norm(x).backward(dy)
    dx, dweight, dbias = batch_norm_backward(to_array(dy), to_array(x), to_array(norm.weight), WIDE_EPS)
    assert_close(x.grad, dx, rtol=1e-12, atol=1e-12)
    assert_close(norm.weight.grad, dweight, rtol=1e-12, atol=1e-12)
    assert_close(norm.bias.grad, dbias, rtol=1e-12, atol=1e-12)


def check_running_statistics(
    momentum: float | None = 0.3, shape: tuple[int, ...] = (3, 3), running_var: RunningVar = "unbiased"
) -> None:
    norm = CustomNorm(3, (), momentum=momentum, running_var=running_var).double()
    batches = [batch(shape, seed) for seed in range(5)]
    for x in batches:
        norm(x)
    mean, var = running_statistics([to_array(x) for x in batches], momentum, biased=running_var == "biased")
    assert_close(norm.running_mean, mean, rtol=1e-12, atol=1e-12)
    assert_close(norm.running_var, var, rtol=1e-12, atol=1e-12)
    assert norm.num_batches_tracked == 5


def check_eval_uses_running_statistics(shape: tuple[int, ...] = (5, 3, 4)) -> None:
    norm, x = layer(eps=WIDE_EPS).eval(), batch(shape)
    given = [to_array(v) for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias)]
    assert_close(norm(x), batch_norm_eval(to_array(x), *given, WIDE_EPS), rtol=1e-12, atol=1e-12)


def check_eval_leaves_the_buffers(shape: tuple[int, ...] = (5, 3, 4)) -> None:
    norm = layer().eval()
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    norm(batch(shape))
    for name, buffer in norm.named_buffers():
        assert torch.equal(buffer, before[name]), name


def check_buffers_have_no_history(shape: tuple[int, ...] = (5, 3, 4)) -> None:
    norm = layer()
    held = dict(norm.named_buffers())
    norm(batch(shape).requires_grad_())
    for name, buffer in norm.named_buffers():
        assert buffer is held[name], f"{name} was replaced, not changed in place"
        assert not buffer.requires_grad, f"{name} is part of a graph"


def check_large_mean_keeps_its_digits(shape: tuple[int, ...] = (64, 3, 6, 6)) -> None:
    """mean/std = 1e3 in float32: the mean is rounded by at most 1000 * 2^-24 = 6e-5 standard deviations.

    That error moves y directly; batch variances are sums of centred squares and keep their 7 digits.
    """
    norm, x = CustomNorm(3, (), momentum=1.0), batch(shape, mean=1e3, dtype=torch.float32)
    y, array = norm(x), to_array(x)
    each = [moments(array[:, channel]) for channel in range(3)]
    n = array[:, 0].size
    assert_close(y, batch_norm(array, to_array(norm.weight), to_array(norm.bias), 1e-5), rtol=1e-5, atol=1e-4)
    assert_close(norm.running_mean, torch.tensor([mean for mean, _ in each]), rtol=2**-23, atol=0)
    assert_close(norm.running_var, torch.tensor([var * n / (n - 1) for _, var in each]), rtol=1e-6, atol=0)


def check_one_value_is_refused(shape: tuple[int, ...] = (1, 3, 1, 1)) -> None:
    norm = layer()
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    with pytest.raises(
        ShapeError, match=r"Expected more than 1 value per channel .* use batches of 2 or more"
    ):
        norm(batch(shape))
    for name, buffer in norm.named_buffers():
        assert torch.equal(buffer, before[name]), f"{name} changed although the batch was refused"
