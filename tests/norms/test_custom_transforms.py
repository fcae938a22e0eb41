"""The custom batch norm under torch.func and forward mode: every transform, nested in every order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from batch_norm_checks import batch, layer
from oracles import assert_close
from torch import Tensor, nn
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vmap

from bnexp.norms.custom import CustomNorm

# torch scripts some of its own rules when forward mode first runs, and warns of itself
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
MODES = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
Function = Callable[..., Tensor]


def free(training: bool, **knobs: object) -> CustomNorm:
    """Return a layer that moves no buffer: a transform may not change what its function captures."""
    return layer(eps=0.1, track_running_stats=not training, **knobs).train(training)


def as_function(norm: nn.Module) -> Function:
    return lambda x, weight, bias: functional_call(norm, {"weight": weight, "bias": bias}, (x,))


def inputs(norm: CustomNorm) -> tuple[Tensor, Tensor, Tensor]:
    return batch((4, 3, 2)), norm.weight.detach().clone(), norm.bias.detach().clone()


def cubed(function: Function) -> Function:
    """Return a scalar of which no derivative up to the third is zero."""
    dy = batch((4, 3, 2), 1)
    return lambda *tensors: (function(*tensors) ** 3 * dy).sum()


@MODES
def test_torch_func_grad_is_autograds(training: bool) -> None:
    norm, x, dy = layer(eps=0.1).train(training), batch((4, 3, 2)), batch((4, 3, 2), 1)
    parameters = {name: p.detach() for name, p in norm.named_parameters()}
    buffers = {name: b.clone() for name, b in norm.named_buffers()}

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        return (functional_call(norm, (parameters, buffers), (x,)) * dy).sum()

    of_parameters, of_x = grad(loss, argnums=(0, 2))(parameters, buffers, x)
    norm(x.requires_grad_()).backward(dy)
    assert_close(of_x, x.grad, rtol=1e-12, atol=1e-12)
    for name, parameter in norm.named_parameters():
        assert_close(of_parameters[name], parameter.grad, rtol=1e-12, atol=1e-12)
    for name, buffer in norm.named_buffers():
        assert_close(buffers[name], buffer, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_vmap_trains_many_layers_at_once(momentum: float | None) -> None:
    layers = [layer(momentum=momentum) for _ in range(3)]
    for factor, one in enumerate(layers):
        with torch.no_grad():
            one.weight.mul_(factor + 1)
            one.running_mean.add_(factor)
    stacked = torch.func.stack_module_state(layers)
    parameters, buffers = (
        {name: tensor.detach().clone() for name, tensor in part.items()} for part in stacked
    )
    x, dy = batch((4, 3, 2)), batch((4, 3, 2), 1)

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return (functional_call(layers[0], (parameters, buffers), (x,)) * dy).sum()

    gradients = vmap(grad(loss))(parameters, buffers)
    for i, one in enumerate(layers):
        one(x).backward(dy)
        assert_close(gradients["weight"][i], one.weight.grad, rtol=1e-12, atol=1e-12)
        assert_close(buffers["running_mean"][i], one.running_mean, rtol=1e-12, atol=1e-12)
        assert_close(buffers["running_var"][i], one.running_var, rtol=1e-12, atol=1e-12)


def test_vmap_gives_gradients_per_example_in_eval() -> None:
    norm, x, dy = layer().eval(), batch((4, 3, 2)), batch((4, 3, 2), 1)
    parameters = {name: p.detach() for name, p in norm.named_parameters()}

    def loss(parameters: dict[str, Tensor], x: Tensor, dy: Tensor) -> Tensor:
        return (functional_call(norm, parameters, (x[None],)) * dy).sum()

    each = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, x, dy)
    norm(x).backward(dy)
    assert_close(each["weight"].sum(0), norm.weight.grad, rtol=1e-12, atol=1e-12)
    assert_close(each["bias"].sum(0), norm.bias.grad, rtol=1e-12, atol=1e-12)


def test_the_jacobian_couples_a_batch_in_training_and_not_in_eval() -> None:
    norm, x = layer(track_running_stats=False), batch((4, 3))
    assert jacrev(norm)(x)[0, 0, 1, 0] != 0
    tracked = layer().eval()
    assert jacrev(tracked)(x)[0, 0, 1, 0] == 0


@MODES
@pytest.mark.parametrize("dim", range(5))
def test_vmap_is_a_loop(training: bool, dim: int) -> None:
    norm, x = free(training), batch((5, 4, 3, 2, 6)).movedim(0, dim)
    mapped = vmap(norm, in_dims=dim, out_dims=dim)(x)
    assert_close(mapped, torch.stack([norm(one) for one in x.unbind(dim)], dim), rtol=1e-12, atol=1e-12)


@MODES
def test_vmap_is_a_loop_in_channels_last(training: bool) -> None:
    norm, x = free(training), batch((6, 4, 2, 5, 3)).movedim(-1, 2)
    assert x[0].is_contiguous(memory_format=torch.channels_last)
    mapped = vmap(vmap(norm))(torch.stack([x, 2 * x]))
    assert_close(mapped[0], torch.stack([norm(one) for one in x]), rtol=1e-12, atol=1e-12)
    assert_close(mapped[1], torch.stack([norm(2 * one) for one in x]), rtol=1e-12, atol=1e-12)


@MODES
def test_gradients_of_a_vmap_and_a_vmap_of_gradients_agree(training: bool) -> None:
    norm, x = free(training), batch((5, 4, 3, 2))
    of_each = vmap(grad(cubed(norm)))(x)
    of_all = grad(lambda x: vmap(cubed(norm))(x).sum())(x)
    looped = torch.stack([torch.autograd.functional.jacobian(cubed(norm), one) for one in x])
    assert_close(of_each, looped, rtol=1e-12, atol=1e-12)
    assert_close(of_all, looped, rtol=1e-12, atol=1e-12)


def test_layers_that_differ_in_weight_alone_share_their_buffers() -> None:
    norm, alone, x = layer(), layer(), batch((4, 3, 2))
    weights = batch((5, 3), 2)
    mapped = vmap(lambda weight: functional_call(norm, {"weight": weight}, (x,)))(weights)
    xhat = (alone(x) - alone.bias.view(3, 1)) / alone.weight.view(3, 1)
    assert_close(mapped, weights[:, None, :, None] * xhat + norm.bias.view(3, 1), rtol=1e-12, atol=1e-12)
    assert_close(norm.running_mean, alone.running_mean, rtol=0, atol=1e-12)
    assert norm.num_batches_tracked == 1


def test_buffers_are_constants_to_every_transform() -> None:
    norm, x = free(training=False), batch((5, 4, 3, 2))

    def loss(running_mean: Tensor, x: Tensor) -> Tensor:
        return (functional_call(norm, {"running_mean": running_mean}, (x,)) ** 3).sum()

    def total(running_mean: Tensor) -> Tensor:
        return vmap(loss, in_dims=(None, 0))(running_mean, x).sum()

    assert not grad(loss)(norm.running_mean, x[0]).any()
    assert not grad(total)(norm.running_mean).any()


@pytest.mark.parametrize("make", [nn.BatchNorm1d, lambda channels: CustomNorm(channels, ())])
def test_one_buffer_cannot_follow_many_batches(make: Callable[[int], nn.Module]) -> None:
    with pytest.raises(RuntimeError, match=r"in-?place|batched tensor as input while the running_mean"):
        vmap(make(3))(batch((5, 4, 3), dtype=torch.float32))


@MODES
def test_forward_mode_agrees_with_finite_differences(training: bool) -> None:
    norm = free(training)
    tensors = [tensor.requires_grad_() for tensor in inputs(norm)]
    assert gradcheck(as_function(norm), tensors, check_forward_ad=True, check_backward_ad=False)
    assert gradgradcheck(as_function(norm), tensors, check_fwd_over_rev=True)


@MODES
def test_forward_and_reverse_jacobians_agree(training: bool) -> None:
    norm = free(training)
    forward, reverse = (
        jacobian(as_function(norm), argnums=(0, 1, 2))(*inputs(norm)) for jacobian in (jacfwd, jacrev)
    )
    for one, other in zip(forward, reverse, strict=True):
        assert_close(one, other, rtol=1e-12, atol=1e-12)
    norm, x = free(training, affine=False), batch((4, 3, 2))
    assert_close(jacfwd(norm)(x), jacrev(norm)(x), rtol=1e-12, atol=1e-12)


@MODES
@pytest.mark.parametrize("outer", [jacfwd, jacrev])
@pytest.mark.parametrize("inner", [jacfwd, jacrev])
@pytest.mark.parametrize("of", [0, 1], ids=["x", "weight"])
def test_a_hessian_is_the_same_in_every_order(
    training: bool, outer: Function, inner: Function, of: int
) -> None:
    """Against torch's layer differentiated in reverse twice; forward twice, torch's own loses terms."""
    norm = free(training)
    twin = nn.BatchNorm1d(3, eps=0.1, track_running_stats=not training).double().train(training)
    twin.load_state_dict(norm.state_dict())
    tensors = inputs(norm)

    def at(tensor: Tensor) -> Tensor:
        return cubed(as_function(twin))(*tensors[:of], tensor, *tensors[of + 1 :])

    wanted = torch.autograd.functional.hessian(at, tensors[of])
    hessian = outer(inner(cubed(as_function(norm)), argnums=of), argnums=of)(*tensors)
    assert_close(hessian, wanted, rtol=1e-10, atol=1e-10)


@MODES
def test_hessians_of_many_batches_at_once(training: bool) -> None:
    norm, x = free(training), batch((2, 4, 3, 2))
    each = torch.stack([jacrev(jacrev(cubed(norm)))(one) for one in x])
    assert_close(vmap(torch.func.hessian(cubed(norm)))(x), each, rtol=1e-10, atol=1e-10)


@MODES
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_low_precision_tangent_is_the_float32_one_rounded(training: bool, dtype: torch.dtype) -> None:
    norm, x, along = free(training).float(), batch((64, 3), dtype=dtype), batch((64, 3), 1, dtype=dtype)
    tangent = jvp(norm, (x,), (along,))[1]
    wide = jvp(norm, (x.float(),), (along.float(),))[1]
    assert tangent.dtype is dtype
    assert_close(tangent, wide.to(dtype), rtol=0, atol=0)


@MODES
def test_no_grad_holds_for_tangents(training: bool) -> None:
    norm, x = free(training), batch((4, 3))
    with torch.no_grad(), forward_ad.dual_level():
        y = norm(forward_ad.make_dual(x, torch.ones_like(x)))
        assert not forward_ad.unpack_dual(y).tangent.requires_grad
