"""The custom batch norm's gradients: finite differences, second derivatives, what they cost, who may ask."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from batch_norm_checks import SHAPES, batch, layer
from oracles import assert_close, batch_norm, batch_norm_backward, batch_norm_eval, to_array
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call

from bnexp.norms.custom import CustomNorm

MODES = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


def as_function(norm: nn.Module) -> Callable[..., Tensor]:
    return lambda x, weight, bias: functional_call(norm, {"weight": weight, "bias": bias}, (x,))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@MODES
def test_first_and_second_derivatives_agree_with_finite_differences(
    shape: tuple[int, ...], training: bool
) -> None:
    norm = layer(eps=0.1).train(training)
    inputs = [batch(s, seed).requires_grad_() for s, seed in ((shape, 0), ((3,), 1), ((3,), 2))]
    assert gradcheck(as_function(norm), inputs)
    assert gradgradcheck(as_function(norm), inputs)


@MODES
def test_derivatives_without_parameters(training: bool) -> None:
    norm, x = layer(affine=False).train(training), batch((4, 3, 2)).requires_grad_()
    assert gradcheck(norm, x)
    assert gradgradcheck(norm, x)


def test_derivatives_in_channels_last() -> None:
    norm = layer(eps=0.1)

    def function(x: Tensor) -> Tensor:
        return norm(x.to(memory_format=torch.channels_last))

    x = batch((2, 3, 3, 2)).requires_grad_()
    assert gradcheck(function, x)
    assert gradgradcheck(function, x)


def test_a_gradient_taken_with_its_graph_is_the_same() -> None:
    norm, x, dy = layer(eps=0.1), batch((4, 3, 5)).requires_grad_(), batch((4, 3, 5), 1)
    wanted = [x, norm.weight, norm.bias]
    plain = torch.autograd.grad(norm(x), wanted, dy)
    with_graph = torch.autograd.grad(norm(x), wanted, dy, create_graph=True)
    for one, other in zip(plain, with_graph, strict=True):
        assert not one.requires_grad
        assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "wanted", [("x",), ("weight",), ("bias",), ("x", "bias"), ("weight", "bias")], ids=str
)
@MODES
def test_only_wanted_gradients_are_given(wanted: tuple[str, ...], training: bool) -> None:
    norm, x, dy = layer(eps=0.1).train(training), batch((4, 3, 5)), batch((4, 3, 5), 1)
    leaves = {"x": x, "weight": norm.weight, "bias": norm.bias}
    full = torch.autograd.grad(norm(x.requires_grad_()), list(leaves.values()), dy)
    for name, leaf in leaves.items():
        leaf.requires_grad_(name in wanted)
    norm(x).backward(dy)
    for (name, leaf), gradient in zip(leaves.items(), full, strict=True):
        assert (leaf.grad is not None) == (name in wanted)
        if name in wanted:
            assert_close(leaf.grad, gradient, rtol=0, atol=0)


def test_nothing_wanted_builds_no_graph() -> None:
    norm = layer().requires_grad_(False)
    assert not norm(batch((4, 3))).requires_grad


def test_an_unused_output_asks_for_nothing() -> None:
    norm, x = layer(), batch((4, 3)).requires_grad_()
    norm(x)
    x.sum().backward()
    assert_close(x.grad, torch.ones(4, 3), rtol=0, atol=0)


def test_an_expanded_upstream_gradient_is_summed_right() -> None:
    norm, x = layer(), batch((4, 3, 5)).requires_grad_()
    norm(x).sum().backward()
    assert_close(norm.bias.grad, torch.full((3,), 20.0), rtol=1e-12, atol=0)
    assert_close(x.grad, torch.zeros(4, 3, 5), rtol=0, atol=1e-12)


def saved_bytes(norm: nn.Module, x: Tensor) -> int:
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        norm(x.requires_grad_())
    return sum(sizes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@MODES
def test_backward_keeps_no_more_than_torchs(
    dtype: torch.dtype, memory_format: torch.memory_format, training: bool
) -> None:
    x = batch((8, 3, 6, 6), dtype=dtype).to(memory_format=memory_format)
    norm, builtin = CustomNorm(3, (6, 6)).train(training), nn.BatchNorm2d(3).train(training)
    if dtype is torch.float64:
        norm, builtin = norm.double(), builtin.double()
    kept = saved_bytes(norm, x.detach().clone())
    assert x.numel() * x.element_size() < kept <= saved_bytes(builtin, x.detach().clone())


def test_the_input_is_kept_itself_not_copied() -> None:
    kept: list[int] = []
    x = batch((8, 3, 6, 6)).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.data_ptr()) or t, lambda t: t):
        layer()(x)
    assert x.data_ptr() in kept


@MODES
def test_buffers_may_move_between_forward_and_backward(training: bool) -> None:
    norm, x, dy = layer(eps=0.1).train(training), batch((4, 3)).requires_grad_(), batch((4, 3), 1)
    (undisturbed,) = torch.autograd.grad(norm(x), x, dy)
    norm = layer(eps=0.1).train(training)
    y = norm(x)
    norm.train()(batch((6, 3), 7))
    assert_close(torch.autograd.grad(y, x, dy)[0], undisturbed, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(64, 3), (16, 3, 5, 5)], ids=str)
def test_low_precision_is_within_twice_torchs_error(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    builtin = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(3)
    x, dy = batch(shape, dtype=dtype), batch(shape, 1, dtype=dtype)
    ones, zeros = torch.ones(3).numpy(), torch.zeros(3).numpy()
    y_oracle = batch_norm(to_array(x), ones, zeros, 1e-5)
    dx_oracle = batch_norm_backward(to_array(dy), to_array(x), ones.astype("float64"), 1e-5)[0]
    errors = []
    for norm in (CustomNorm(3, ()), builtin):
        x_leaf = x.clone().requires_grad_()
        y = norm(x_leaf)
        y.backward(dy)
        assert y.dtype is dtype
        assert x_leaf.grad.dtype is dtype
        assert norm.weight.grad.dtype is torch.float32
        errors.append([abs(to_array(y) - y_oracle).max(), abs(to_array(x_leaf.grad) - dx_oracle).max()])
    for own, torchs in zip(*errors, strict=True):
        assert own <= 2 * torchs + 1e-6


def test_large_low_precision_values_do_not_overflow() -> None:
    x = torch.full((64, 3), 6e4, dtype=torch.float16)
    x[::2] = -6e4
    norm = CustomNorm(3, (), momentum=1.0)
    assert_close(norm(x).abs(), torch.ones(64, 3), rtol=0, atol=0)
    assert_close(norm.running_var, torch.full((3,), 6e4**2 * 64 / 63), rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@MODES
def test_autocast_returns_the_inputs_dtype(dtype: torch.dtype, training: bool) -> None:
    norm, x = CustomNorm(3, ()).train(training), batch((8, 3, 4), dtype=dtype)
    outside = norm(x)
    again = CustomNorm(3, ()).train(training)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = again(x)
    assert inside.dtype is dtype
    assert again.running_mean.dtype is torch.float32
    assert_close(inside, outside, rtol=0, atol=0)


def test_half_precision_buffers_are_read_in_float32() -> None:
    """In float16 var + eps has three digits left here; y rounded once from float32 is good to 2^-11."""
    norm, x = CustomNorm(3, ()).half().eval(), batch((8, 3), dtype=torch.float16)
    norm.running_var.copy_(torch.tensor([0.0, 1e-6, 2e-5]))
    given = [to_array(v) for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias)]
    assert_close(norm(x), batch_norm_eval(to_array(x), *given, 1e-5), rtol=2**-11 * 1.01, atol=0)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_half_precision_buffers_stay_so(momentum: float | None) -> None:
    norm = CustomNorm(3, (), momentum=momentum).half()
    y = norm(batch((8, 3), dtype=torch.float16))
    assert y.dtype is norm.running_mean.dtype is torch.float16
    assert norm.running_mean.abs().min() > 0


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@MODES
def test_an_activation_may_overwrite_the_output(memory_format: torch.memory_format, training: bool) -> None:
    gradients = []
    for inplace in (False, True):
        x = batch((4, 3, 2, 2)).to(memory_format=memory_format).requires_grad_()
        network = nn.Sequential(layer().train(training), nn.ReLU(inplace=inplace))
        network(x).square().sum().backward()
        gradients.append(x.grad)
    assert_close(*gradients, rtol=0, atol=0)
