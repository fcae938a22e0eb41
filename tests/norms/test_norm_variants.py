"""What renorm, running, noisy and frozen share with the custom batch norm: dtypes, layouts, transforms."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Callable

import pytest
import torch
import variant_checks as checks
from batch_norm_checks import batch
from oracles import assert_close
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, vmap

from bnexp.models.dropout import seed_noise
from bnexp.norms.custom import CustomNorm
from bnexp.norms.noisy import NoisyNorm

MAKERS: dict[str, Callable[[], nn.Module]] = {
    "renorm": lambda: checks.renorm(r_max=1.2, d_max=0.5),
    "running": checks.running,
    "noisy": lambda: seeded(checks.unlike(NoisyNorm(3, ()))),
    "frozen": checks.frozen,
}
MODES = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
Make = Callable[[], nn.Module]


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Make:
    return MAKERS[request.param]


def seeded(norm: nn.Module) -> nn.Module:
    seed_noise(norm, 0, "cpu")
    return norm


def always(*noise: Tensor) -> Callable[[Tensor], tuple[Tensor, ...]]:
    return lambda x: noise


@MODES
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(64, 3), (16, 3, 5, 5)], ids=str)
def test_low_precision_is_float32_rounded_once(
    make: Make, training: bool, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    norm, wide = (make().float().train(training) for _ in range(2))
    norm.core = wide.core = "eager"  # the compiled one takes float32 only
    x, dy = batch(shape, dtype=dtype).requires_grad_(), batch(shape, 1, dtype=dtype)
    x_wide = x.detach().float().requires_grad_()
    y, y_wide = norm(x), wide(x_wide)
    y.backward(dy)
    y_wide.backward(dy.float())
    assert y.dtype is x.grad.dtype is dtype
    assert torch.equal(y, y_wide.to(dtype))
    assert torch.equal(x.grad, x_wide.grad.to(dtype))
    for name, value in wide.state_dict().items():
        assert torch.equal(norm.state_dict()[name], value), name


def test_half_precision_buffers_stay_so(make: Make) -> None:
    norm = make().half()
    y = norm(batch((8, 3), dtype=torch.float16))
    assert y.dtype is norm.running_var.dtype is torch.float16
    assert y.isfinite().all()


@MODES
def test_autocast_returns_the_inputs_dtype(make: Make, training: bool) -> None:
    x = batch((8, 3, 4), dtype=torch.float32)
    outside = make().float().train(training)(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = make().float().train(training)(x)
    assert inside.dtype is torch.float32
    assert_close(inside, outside, rtol=0, atol=0)


@MODES
@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (4, 3, 2, 5, 6)], ids=str)
def test_channels_last_stays_and_changes_no_value(make: Make, training: bool, shape: tuple[int, ...]) -> None:
    last = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    norm, plain = make().train(training), make().train(training)
    x, x_plain, dy = batch(shape).to(memory_format=last), batch(shape), batch(shape, 1)
    y, y_plain = norm(x.requires_grad_()), plain(x_plain.requires_grad_())
    y.backward(dy)
    y_plain.backward(dy)
    assert y.is_contiguous(memory_format=last)
    assert_close(y, y_plain, rtol=1e-12, atol=1e-12)
    assert_close(x.grad, x_plain.grad, rtol=1e-12, atol=1e-12)


@MODES
@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 4), (2, 3, 0, 4)], ids=str)
def test_an_empty_batch_passes_and_moves_nothing(make: Make, training: bool, shape: tuple[int, ...]) -> None:
    norm = make().train(training)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    x = batch(shape).requires_grad_()
    y = norm(x)
    y.sum().backward()
    assert y.shape == x.grad.shape == shape
    for name, value in norm.state_dict().items():
        if name != "num_batches_tracked":
            assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda norm: pickle.loads(pickle.dumps(norm))])
def test_a_copy_shares_nothing_and_computes_the_same(
    make: Make, copied: Callable[[nn.Module], nn.Module]
) -> None:
    norm = make()
    norm(batch((4, 3)).requires_grad_())
    twin, x = copied(norm), batch((4, 3), 5)
    for _ in range(2):
        assert_close(twin(x), norm(x), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_backward_keeps_the_input_and_vectors(
    make: Make, dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    """Beside the input, less than a vector for each example."""
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    x = batch((8, 3, 16, 16), dtype=dtype).to(memory_format=memory_format).requires_grad_()
    norm = make().to(dtype)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        norm(x)
    assert sum(sizes) <= x.numel() + 8 * 3 * 2


def test_buffers_may_move_between_forward_and_backward(make: Make) -> None:
    dy, gradients = batch((4, 3), 1), []
    for disturbed in (False, True):
        norm, x = make(), batch((4, 3)).requires_grad_()
        y = norm(x)
        if disturbed:
            norm(batch((6, 3), 7))
        gradients.append(torch.autograd.grad(y, x, dy)[0])
    assert_close(*gradients, rtol=0, atol=0)


def test_buffers_have_no_history_and_stay_in_place(make: Make) -> None:
    norm = make()
    held = dict(norm.named_buffers())
    norm(batch((5, 3)).requires_grad_())
    for name, buffer in norm.named_buffers():
        assert buffer is held[name], f"{name} was replaced, not changed in place"
        assert not buffer.requires_grad, f"{name} is part of a graph"


@MODES
def test_torch_func_grad_is_autograds(make: Make, training: bool) -> None:
    norm, functional = make().train(training), make().train(training)
    x, dy = batch((4, 3, 2)), batch((4, 3, 2), 1)
    parameters = {name: p.detach() for name, p in functional.named_parameters()}
    buffers = {name: b.clone() for name, b in functional.named_buffers()}

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        return (functional_call(functional, (parameters, buffers), (x,)) * dy).sum()

    of_parameters, of_x = grad(loss, argnums=(0, 2))(parameters, buffers, x)
    norm(x.requires_grad_()).backward(dy)
    assert_close(of_x, x.grad, rtol=1e-12, atol=1e-12)
    for name, parameter in norm.named_parameters():
        assert_close(of_parameters[name], parameter.grad, rtol=1e-12, atol=1e-12)
    for name, buffer in norm.named_buffers():
        assert_close(buffers[name], buffer, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["renorm", "running", "frozen"])
def test_vmap_trains_many_layers_at_once(name: str) -> None:
    layers = [MAKERS[name]() for _ in range(3)]
    for factor, one in enumerate(layers):
        with torch.no_grad():
            one.weight.mul_(factor + 1)
            one.running_mean.add_(factor)
    parameters, buffers = (
        {name: tensor.detach().clone() for name, tensor in part.items()}
        for part in torch.func.stack_module_state(layers)
    )
    x, dy = batch((4, 3, 2)), batch((4, 3, 2), 1)

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        return (functional_call(layers[0], (parameters, buffers), (x,)) * dy).sum()

    of_x = vmap(grad(loss, argnums=2), in_dims=(0, 0, None))(parameters, buffers, x)
    for i, one in enumerate(layers):
        own_x = x.clone().requires_grad_()
        one(own_x).backward(dy)
        assert_close(of_x[i], own_x.grad, rtol=1e-12, atol=1e-12)
        for buffer in ("running_mean", "running_var"):
            assert_close(buffers[buffer][i], getattr(one, buffer), rtol=1e-12, atol=1e-12)


def test_vmap_over_noise_must_say_which_noise() -> None:
    with pytest.raises(RuntimeError, match="random"):
        vmap(seeded(NoisyNorm(3, (), track_running_stats=False).double()))(batch((2, 4, 3)))


# at a graph break torch itself looks at .grad of what is no leaf
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@MODES
def test_compiled_it_gives_the_eager_numbers(make: Make, training: bool) -> None:
    torch.compiler.reset()
    eager, other = make().train(training), make().train(training)
    compiled = torch.compile(other, backend="aot_eager", fullgraph=not isinstance(eager, NoisyNorm))
    for seed in (0, 1):
        x, x_other = (batch((4, 3, 2, 2), seed).requires_grad_() for _ in range(2))
        y, y_other, dy = eager(x), compiled(x_other), batch((4, 3, 2, 2), seed + 5)
        y.backward(dy)
        y_other.backward(dy)
        assert_close(y_other, y, rtol=1e-11, atol=1e-11)
        assert_close(x_other.grad, x.grad, rtol=1e-11, atol=1e-11)
    for name, value in eager.state_dict().items():
        assert_close(other.state_dict()[name], value, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ["renorm", "noisy"])
def test_it_prints_as_a_batch_norm_with_its_own_knobs(name: str) -> None:
    own = {"renorm": "r_max=1.2, d_max=0.5", "noisy": "max_shift=0.5, max_scale=1.25"}
    norm = MAKERS[name]()
    assert repr(norm) == f"{type(norm).__name__}({CustomNorm(3, ()).extra_repr()}, {own[name]})"


@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 5), (8, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("name", ["renorm", "noisy"])
@pytest.mark.parametrize("path", ["auto", "eager", "last", "forward_ad"])
def test_every_path_gives_the_float64_numbers(name: str, shape: tuple[int, ...], path: str) -> None:
    """The compiled core, torch's operations, channels_last, and the composition that transforms see."""
    results = []
    for dtype in (torch.float32, torch.float64):
        norm = MAKERS[name]().to(dtype)
        norm.core = "eager" if path == "eager" else "auto"
        x, dy = batch(shape, dtype=torch.float32).to(dtype), batch(shape, 1, dtype=torch.float32).to(dtype)
        if name == "noisy":
            scale_NC, shift_NC = MAKERS["noisy"]()._draw(x.double())
            norm._draw = always(scale_NC.to(dtype), shift_NC.to(dtype))
        if path == "last":
            x = x.transpose(1, -1).contiguous().transpose(1, -1)
        x.requires_grad_()
        level = forward_ad.dual_level() if path == "forward_ad" else contextlib.nullcontext()
        with level:
            y = norm(x)
        y.backward(dy)
        results.append([y, x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var])
    for own, wide in zip(*results, strict=True):
        assert_close(own, wide, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["renorm", "noisy"])
def test_a_gradient_taken_with_its_graph_is_the_same(name: str) -> None:
    x, dy, results = batch((4, 3, 5)).requires_grad_(), batch((4, 3, 5), 1), []
    for create_graph in (False, True):
        norm = MAKERS[name]()
        wanted = [x, norm.weight, norm.bias]
        results.append(torch.autograd.grad(norm(x), wanted, dy, create_graph=create_graph))
    for one, other in zip(*results, strict=True):
        assert not one.requires_grad
        assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("wanted", [("x",), ("weight",), ("bias",)], ids=str)
@pytest.mark.parametrize("name", ["renorm", "noisy"])
def test_only_wanted_gradients_are_given(name: str, wanted: tuple[str, ...]) -> None:
    norm, dy, leaves = MAKERS[name](), batch((4, 3, 5), 1), {}
    leaves = {"x": batch((4, 3, 5)).requires_grad_(), "weight": norm.weight, "bias": norm.bias}
    full = dict(zip(leaves, torch.autograd.grad(norm(leaves["x"]), list(leaves.values()), dy), strict=True))
    norm = MAKERS[name]()
    leaves = {"x": batch((4, 3, 5)), "weight": norm.weight, "bias": norm.bias}
    for each, leaf in leaves.items():
        leaf.requires_grad_(each in wanted)
    norm(leaves["x"]).backward(dy)
    for each, leaf in leaves.items():
        assert (leaf.grad is not None) == (each in wanted)
        if each in wanted:
            assert_close(leaf.grad, full[each], rtol=0, atol=0)
