"""What renorm, running, noisy and frozen must do, as functions that fail for tests and mutants."""

from __future__ import annotations

import math
from typing import TypeVar

import pytest
import torch
from batch_norm_checks import WIDE_EPS, batch
from oracles import (
    assert_close,
    batch_norm_backward,
    batch_norm_eval,
    batch_renorm,
    running_statistics,
    running_std,
    to_array,
)
from torch import Tensor, nn
from torch.autograd import gradcheck

from bnexp.errors import ShapeError
from bnexp.norms.frozen import FrozenNorm
from bnexp.norms.noisy import NoisyNorm
from bnexp.norms.renorm import BatchRenorm
from bnexp.norms.running import RunningNorm

Norm = TypeVar("Norm", bound=nn.Module)
AT_ONCE = {"plain_frac": 0.0, "r_full_frac": 0.0, "d_full_frac": 0.0}
SOME_CLIPPED = {"eps": WIDE_EPS, "r_max": 1.2, "d_max": 0.5}


def unlike(norm: Norm) -> Norm:
    """Return the layer of 3 channels in float64 with parameters and buffers that all differ."""
    generator = torch.Generator().manual_seed(1)
    norm.double()
    with torch.no_grad():
        for name in ("weight", "bias", "running_mean"):
            tensor = getattr(norm, name)
            if tensor is not None:
                tensor.copy_(torch.randn(3, generator=generator))
        norm.running_var.copy_(torch.rand(3, generator=generator) * 3 + 0.2)
    return norm


def renorm(**knobs: object) -> BatchRenorm:
    """Return a layer whose limits are full from the first batch on."""
    return unlike(BatchRenorm(3, (), **AT_ONCE, **knobs))


def quiet(**knobs: object) -> NoisyNorm:
    return unlike(NoisyNorm(3, (), **{"max_shift": 0.0, "max_scale": 1.0, "spread": 0.0} | knobs))


def expected_renorm(norm: BatchRenorm, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    std = (norm.running_var + norm.eps).sqrt()
    given = to_array(norm.weight), to_array(norm.bias), (to_array(norm.running_mean), to_array(std))
    y, r, d = batch_renorm(to_array(x), *given, norm.eps, (norm.r_max, norm.d_max))
    return torch.from_numpy(y), torch.from_numpy(r), torch.from_numpy(d)


def check_renorm_is_the_papers(shape: tuple[int, ...] = (5, 3, 4)) -> None:
    norm, x = renorm(**SOME_CLIPPED), batch(shape, mean=0.5)
    y, _, _ = expected_renorm(norm, x)
    assert_close(norm(x), y, rtol=1e-12, atol=1e-12)


def check_renorms_gradient_takes_r_and_d_for_constants(shape: tuple[int, ...] = (5, 3, 4)) -> None:
    norm, x, dy = renorm(**SOME_CLIPPED), batch(shape, mean=0.5), batch(shape, seed=1)
    _, r, d = expected_renorm(norm, x)
    dx, of_xhat, of_bias = batch_norm_backward(to_array(dy), to_array(x), to_array(norm.weight * r), norm.eps)
    norm(x.requires_grad_()).backward(dy)
    assert_close(x.grad, dx, rtol=1e-12, atol=1e-12)
    assert_close(norm.weight.grad, of_xhat * r.numpy() + of_bias * d.numpy(), rtol=1e-12, atol=1e-12)
    assert_close(norm.bias.grad, of_bias, rtol=1e-12, atol=1e-12)


def check_unclipped_renorm_is_eval_by_the_averages_before(shape: tuple[int, ...] = (5, 3, 4)) -> None:
    norm, x = renorm(r_max=1e6, d_max=1e6, momentum=0.5), batch(shape)
    before = norm.eval()(x)
    assert_close(norm.train()(x), before, rtol=1e-11, atol=1e-11)


def check_renorm_averages_standard_deviations(momentum: float | None = 0.3) -> None:
    norm = BatchRenorm(3, (), eps=WIDE_EPS, momentum=momentum).double()
    batches = [batch((3, 3), seed) * (seed + 1) for seed in range(5)]
    for x in batches:
        norm(x)
    arrays = [to_array(x) for x in batches]
    stds = (norm.running_var + WIDE_EPS).sqrt()
    assert_close(stds, running_std(arrays, momentum, WIDE_EPS), rtol=1e-12, atol=1e-12)
    assert_close(norm.running_mean, running_statistics(arrays, momentum)[0], rtol=1e-12, atol=1e-12)


def check_renorms_schedule_is_scaled_to_the_run() -> None:
    norm = BatchRenorm(3, ())
    norm.set_total_steps(200)
    expected = {0: (1, 0), 20: (1, 0), 60: (11 / 7, 2.5), 90: (2, 4.375), 100: (15 / 7, 5), 160: (3, 5)}
    for step, limits in (expected | {200: (3, 5)}).items():
        norm.num_batches_tracked.fill_(step)
        assert_close(torch.stack(norm.limits()), torch.tensor(limits), rtol=1e-6, atol=0)
    norm.num_batches_tracked.fill_(0)
    for _ in range(21):
        assert torch.stack(norm.limits()).tolist() == [1, 0]
        norm(batch((2, 3), dtype=torch.float32))
    assert norm.limits()[0] > 1


def check_constant_channels_leave_renorm_finite() -> None:
    """Among these eps there are some whose root, squared in float32, is below eps."""
    for eps in (1e-5, 2e-5, 3e-5, 5e-5, 7e-5, 1e-3):
        norm = BatchRenorm(3, (), **AT_ONCE, eps=eps, momentum=1.0)
        for value in (0.0, 1234.567, -3e7):
            x = torch.full((6, 3), value).requires_grad_()
            norm(x).sum().backward()
            assert x.grad.isfinite().all()
            assert 0 <= norm.running_var.min() <= norm.running_var.max() < 1e-6 * eps


def running(**knobs: object) -> RunningNorm:
    return unlike(RunningNorm(3, (), eps=WIDE_EPS, **knobs))


def check_running_normalizes_by_the_averages_before(shape: tuple[int, ...] = (5, 3, 4)) -> None:
    norm, x = running(momentum=0.7), batch(shape)
    given = [to_array(v.clone()) for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias)]
    assert_close(norm(x), batch_norm_eval(to_array(x), *given, WIDE_EPS), rtol=1e-12, atol=1e-12)


def check_runnings_gradient_takes_the_averages_for_constants(shape: tuple[int, ...] = (5, 3, 4)) -> None:
    norm, x, dy = running(), batch(shape).requires_grad_(), batch(shape, seed=1)
    slope = norm.weight.detach() / (norm.running_var + WIDE_EPS).sqrt()
    norm(x).backward(dy)
    assert_close(x.grad, dy * slope.view(3, *(1,) * (len(shape) - 2)), rtol=1e-12, atol=1e-12)
    assert_close(norm.bias.grad, dy.transpose(0, 1).flatten(1).sum(1), rtol=1e-12, atol=1e-12)


def check_running_moves_towards_the_batch(momentum: float | None = 0.3, kind: str = "unbiased") -> None:
    norm = RunningNorm(3, (), momentum=momentum, running_var=kind).double()
    batches = [batch((3, 3), seed) for seed in range(5)]
    for x in batches:
        norm(x)
    arrays = [to_array(x) for x in batches]
    mean, var = running_statistics(arrays, momentum, biased=kind == "biased")
    assert_close(norm.running_mean, mean, rtol=1e-12, atol=1e-12)
    assert_close(norm.running_var, var, rtol=1e-12, atol=1e-12)


def check_running_refuses_one_value() -> None:
    norm = running()
    with pytest.raises(ShapeError, match="more than 1 value per channel"):
        norm(batch((1, 3)))
    assert norm.num_batches_tracked == 0


def noise(norm: NoisyNorm, examples: int) -> tuple[Tensor, Tensor]:
    """Return s and m, (N, C), read off the values +1 and -1, whose mean and variance are 0 and 1."""
    pair = torch.tensor([1.0, -1.0], dtype=torch.float64).expand(examples, norm.num_features, 2)
    up, down = norm(pair).detach().unbind(2)
    return (up - down) / 2 * math.sqrt(1 + norm.eps), (up + down) / 2


def seeded(channels: int, seed: int = 0, **knobs: object) -> NoisyNorm:
    norm = NoisyNorm(channels, (), **knobs).double()
    norm.generator = torch.Generator().manual_seed(seed)
    return norm


def check_noise_has_its_distribution() -> None:
    """Within 4 standard errors of the moments of Uniform and Normal, over 400 channels and 500 examples."""
    channels, examples = 400, 500
    scale, shift = noise(seeded(channels), examples)
    for values, middle, width, std in (
        (shift, 0.0, 1.0, 0.1 / math.sqrt(3)),
        (scale, 1.125, 0.25, 0.1),
    ):
        centres, within = values.mean(0), values - values.mean(0)
        between = width / math.sqrt(12)
        assert abs(centres.mean() - middle) < 4 * between / math.sqrt(channels)
        assert (centres - middle).abs().max() < width / 2 + 5 * std / math.sqrt(examples)
        assert abs(centres.std() / between - 1) < 4 / math.sqrt(2 * channels)
        assert abs(within.std() / std - 1) < 4 / math.sqrt(2 * channels * examples) + 1 / examples
    assert (shift - shift.mean(0)).abs().max() < 0.1 + 5 * 0.1 / math.sqrt(3 * examples)
    assert (scale - scale.mean(0)).abs().max() > 0.3


def check_noise_differs_by_pass_and_example() -> None:
    norm = seeded(3)
    first, second = noise(norm, 4), noise(norm, 4)
    for one, other in zip(first, second, strict=True):
        assert len(torch.cat([one, other]).unique()) == 2 * 4 * 3
    centres = [noise(seeded(3, seed, spread=0.0), 4)[1] for seed in (0, 1)]
    assert (centres[0] != centres[1]).all()


def check_noise_comes_after_the_whole_batch_norm() -> None:
    norm = seeded(3)
    scale, shift = noise(norm, 4)
    affine = seeded(3)
    with torch.no_grad():
        affine.weight.fill_(2.0)
        affine.bias.fill_(7.0)
    x = batch((4, 3, 5))
    plain = quiet(eps=norm.eps)
    with torch.no_grad():
        plain.weight.fill_(2.0)
        plain.bias.fill_(7.0)
    assert_close(affine(x), scale[..., None] * plain(x) + shift[..., None], rtol=1e-12, atol=1e-12)


def check_eval_has_no_noise() -> None:
    norm, x = unlike(NoisyNorm(3, (), eps=WIDE_EPS)).eval(), batch((5, 3, 4))
    given = [to_array(v) for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias)]
    assert_close(norm(x), batch_norm_eval(to_array(x), *given, WIDE_EPS), rtol=1e-12, atol=1e-12)
    untracked = NoisyNorm(3, (), track_running_stats=False).double().eval()
    assert_close(untracked(x), quiet(eps=1e-5, affine=False)(x), rtol=1e-12, atol=1e-12)


def check_noise_leaves_the_running_statistics() -> None:
    noisy, plain = NoisyNorm(3, ()).double(), nn.BatchNorm1d(3).double()
    for seed in range(3):
        noisy(batch((5, 3), seed))
        plain(batch((5, 3), seed))
    for name, value in plain.state_dict().items():
        assert_close(noisy.state_dict()[name], value, rtol=1e-12, atol=1e-12)


def frozen() -> FrozenNorm:
    return unlike(FrozenNorm(3, (), eps=WIDE_EPS))


def check_frozen_uses_its_buffers_alone(shape: tuple[int, ...] = (5, 3, 4)) -> None:
    norm, x, dy = frozen(), batch(shape).requires_grad_(), batch(shape, 1)
    vectors = norm.running_mean, norm.running_var, norm.weight, norm.bias
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    expected = batch_norm_eval(to_array(x), *[to_array(v) for v in vectors], WIDE_EPS)
    y = norm.train()(x)
    assert_close(y, expected, rtol=1e-12, atol=1e-12)
    assert_close(norm.eval()(x), expected, rtol=1e-12, atol=1e-12)
    y.backward(dy)
    slope = norm.weight / (norm.running_var + WIDE_EPS).sqrt()
    assert_close(x.grad, dy * slope.view(3, *(1,) * (len(shape) - 2)), rtol=1e-12, atol=1e-12)
    assert list(norm.parameters()) == []
    assert set(before) == {"weight", "bias", "running_mean", "running_var"}
    for name, tensor in norm.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def check_frozen_keeps_the_digits_of_a_large_mean() -> None:
    """x - 1000 is exact in float32 here; x * scale and mean * scale would each be rounded by 3e-5."""
    norm, x = FrozenNorm(3, ()), 1000 + batch((64, 3), mean=0, dtype=torch.float32)
    norm.running_mean.fill_(1000.0)
    exact = (x.double() - 1000) / math.sqrt(1 + 1e-5)
    assert_close(norm(x), exact, rtol=3e-7, atol=0)


def check_clipped_renorm_agrees_with_finite_differences() -> None:
    """Where both corrections are clipped they do not depend on x, and finite differences see the gradient."""
    norm = renorm(r_max=1.01, d_max=1e-3, eps=0.1)
    x = (batch((4, 3, 2)) * torch.tensor([[4.0], [0.1], [9.0]]) + 3).requires_grad_()
    _, r, d = expected_renorm(norm, x)
    assert all(value in (1.01, 1 / 1.01) for value in r.tolist())
    assert d.abs().tolist() == [1e-3] * 3
    start = [parameter.detach().requires_grad_() for parameter in norm.parameters()]
    buffers = {name: buffer.clone() for name, buffer in norm.named_buffers()}

    def function(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        own = {name: buffer.clone() for name, buffer in buffers.items()}
        return torch.func.functional_call(norm, own | {"weight": weight, "bias": bias}, (x,))

    assert gradcheck(function, (x, *start))
    assert torch.autograd.gradgradcheck(function, (x, *start))
