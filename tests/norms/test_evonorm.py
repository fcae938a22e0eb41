"""EvoNorm B0 and S0: the paper's formulas, B0's running variance, and what both refuse."""

from __future__ import annotations

from functools import partial

import example_norm_oracles as oracle
import pytest
import torch
from example_norm_oracles import draw, stir
from oracles import assert_close, running_statistics, to_array
from torch import nn

from bnexp.errors import ConfigError, ShapeError
from bnexp.norms.contract.traits import bind
from bnexp.norms.evonorm import EvoNormB0, EvoNormS0

EPS = 0.5
SHAPES = [(4, 6), (3, 6, 5), (2, 6, 3, 4), (1, 6, 2, 2, 2)]


def parameters(norm: nn.Module) -> list[object]:
    return [to_array(value) for value in (norm.weight, norm.bias, norm.v)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_b0_trains_by_the_batchs_biased_variance(shape: tuple[int, ...]) -> None:
    norm, x = stir(EvoNormB0(6, shape[2:], eps=EPS)), draw(shape)
    array = to_array(x)
    wanted = oracle.evonorm_b0(array, oracle.batch_vars(array), *parameters(norm), EPS)
    assert_close(norm(x), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_b0_evaluates_by_running_var(shape: tuple[int, ...]) -> None:
    norm, x = stir(EvoNormB0(6, shape[2:], eps=EPS)).eval(), draw(shape)
    wanted = oracle.evonorm_b0(to_array(x), to_array(norm.running_var), *parameters(norm), EPS)
    assert_close(norm(x), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.1, 0.7, 1.0, 0.0, None])
def test_b0_averages_unbiased_variances(momentum: float | None) -> None:
    norm = EvoNormB0(3, (2, 2), momentum=momentum).double()
    buffer = norm.running_var
    batches = [draw((size, 3, 2, 2), seed) * (seed + 1) for seed, size in enumerate((4, 2, 3))]
    for batch in batches:
        norm(batch.requires_grad_())
    _, wanted = running_statistics([to_array(batch) for batch in batches], momentum)
    assert norm.running_var is buffer
    assert not buffer.requires_grad
    assert_close(buffer, wanted, rtol=1e-12, atol=1e-12)
    assert norm.num_batches_tracked == 3


def test_b0_refuses_one_value_per_channel_without_counting_it() -> None:
    norm = EvoNormB0(3, ())
    with pytest.raises(ShapeError, match="more than 1 value per channel when training"):
        norm(torch.zeros(1, 3))
    assert norm.num_batches_tracked == 0
    assert norm.eval()(torch.zeros(1, 3)).shape == (1, 3)


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_s0_is_the_papers_formula(shape: tuple[int, ...], groups: int, training: bool) -> None:
    norm = stir(EvoNormS0(6, shape[2:], num_groups=groups, eps=EPS)).train(training)
    x = draw(shape)
    wanted = oracle.evonorm_s0(to_array(x), groups, *parameters(norm), EPS)
    assert_close(norm(x), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("channels", "spatial", "groups"), [(64, (8, 8), 32), (120, (), 15), (6, (9, 9), 3)])
def test_s0_chooses_groups_as_group_norm_does(channels: int, spatial: tuple[int, ...], groups: int) -> None:
    assert EvoNormS0(channels, spatial).num_groups == groups


def test_s0_without_its_gate_is_a_norm_of_half_the_size() -> None:
    norm, x = EvoNormS0(6, (4, 4), num_groups=2).double(), draw((2, 6, 4, 4))
    with torch.no_grad():
        norm.v.zero_()
    grouped = nn.functional.group_norm(x, 2)
    deviation = x.view(2, 2, -1).std(2, correction=0)
    mean = (x.view(2, 2, -1).mean(2) / (deviation**2 + 1e-5).sqrt()).repeat_interleave(3, 1)
    assert_close(2 * norm(x), grouped + mean.view(2, 6, 1, 1), rtol=1e-10, atol=1e-10)


def test_a_steep_gate_is_relu() -> None:
    norm, x = EvoNormS0(6, (4, 4), num_groups=2).double(), draw((2, 6, 4, 4))
    with torch.no_grad():
        norm.v.fill_(1e9)
    assert bool((norm(x)[x < 0].abs() < 1e-12).all())
    assert bool((norm(x)[x > 0] > 0).all())


@pytest.mark.parametrize("make", [EvoNormB0, EvoNormS0])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("shape", [(2, 4, 2, 1), (2, 8)], ids=str)
def test_second_derivatives_agree_with_finite_differences(
    make: type[nn.Module], training: bool, shape: tuple[int, ...]
) -> None:
    norm = stir(make(shape[1], shape[2:], eps=0.1)).train(training)
    assert torch.autograd.gradgradcheck(norm, (draw(shape).requires_grad_(),))


@pytest.mark.parametrize("make", [EvoNormB0, EvoNormS0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kept", ["float32", "cast"])
def test_low_precision_rounds_the_result_once(make: type[nn.Module], dtype: torch.dtype, kept: str) -> None:
    norm = make(4, (6, 6))
    x = (draw((2, 4, 6, 6)) * 300).to(dtype)  # whose squares overflow float16
    wanted = norm.double()(x.double())
    norm = norm.float() if kept == "float32" else norm.to(dtype)
    y = norm(x)
    assert y.dtype is dtype
    assert_close(y, wanted, rtol=torch.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize("make", [EvoNormB0, EvoNormS0])
@pytest.mark.parametrize("shape", [(32, 8), (4, 8, 6, 6)], ids=str)
def test_large_mean_keeps_its_digits(make: type[nn.Module], shape: tuple[int, ...]) -> None:
    x = draw(shape, dtype=torch.float32) + 1e3
    wanted = make(8, shape[2:]).double()(x.double())
    # x is 1e3 deviations; squares of it instead of centred values would lose the variance whole
    assert_close(make(8, shape[2:])(x), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_b0s_variance_keeps_its_digits_at_a_large_mean(seed: int) -> None:
    """The means of examples, rounded to float32, would be off by 3e-5 each and their variance by 1e-5."""
    norm, x = EvoNormB0(8, (2, 3), momentum=1.0), draw((16, 8, 2, 3), seed, dtype=torch.float32) + 1e3
    norm(x)
    assert_close(norm.running_var, x.double().transpose(0, 1).flatten(1).var(1), rtol=1e-6, atol=0)


@pytest.mark.parametrize("make", [EvoNormB0, EvoNormS0])
def test_channels_last_gives_the_same(make: type[nn.Module]) -> None:
    norm, x = stir(make(6, (3, 4))), draw((2, 6, 3, 4))
    assert_close(norm(x.to(memory_format=torch.channels_last)), norm(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", [EvoNormB0, EvoNormS0])
def test_a_constant_channel_has_finite_gradients(make: type[nn.Module]) -> None:
    x = torch.full((2, 4, 3, 3), 2.0, requires_grad=True)
    make(4, (3, 3))(x).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("make", [EvoNormB0, EvoNormS0])
@pytest.mark.parametrize("shape", [(0, 4, 3, 3), (2, 4, 0, 3)], ids=str)
def test_an_empty_batch_stays_empty_and_moves_nothing(make: type[nn.Module], shape: tuple[int, ...]) -> None:
    norm, x = make(4, (3, 3)), torch.zeros(shape, requires_grad=True)
    before = {name: value.clone() for name, value in norm.named_buffers()}
    y = norm(x)
    y.sum().backward()
    assert (y.shape, x.grad.shape) == (x.shape, x.shape)
    assert all(torch.equal(value, before[name]) for name, value in norm.named_buffers())


def test_both_take_the_activations_place() -> None:
    assert bind(partial(EvoNormB0)).replaces_activation
    assert bind(partial(EvoNormS0)).replaces_activation


@pytest.mark.parametrize("make", [EvoNormB0, EvoNormS0])
def test_another_shape_is_refused(make: type[nn.Module]) -> None:
    with pytest.raises(ShapeError, match=r"input must be floating point of shape \(N, 4\) or"):
        make(4, (3, 3))(torch.zeros(2, 5, 3, 3))


@pytest.mark.parametrize("make", [EvoNormB0, EvoNormS0])
def test_eps_must_be_positive(make: type[nn.Module]) -> None:
    with pytest.raises(ConfigError, match="eps must be above 0 and finite, got 0"):
        make(4, (3, 3), eps=0.0)


@pytest.mark.parametrize(("spatial", "groups"), [((3, 3), 3), ((), 4)])
def test_s0_refuses_groups_that_do_not_work(spatial: tuple[int, ...], groups: int) -> None:
    with pytest.raises(ConfigError, match=r"num_groups must divide|at least 2 values"):
        EvoNormS0(4, spatial, num_groups=groups)
