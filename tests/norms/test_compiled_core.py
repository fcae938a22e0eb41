"""The compiled core against the written-out formulas in float64, and against the torch operations."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from oracles import assert_close, running_statistics
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from bnexp.choices import RunningVar
from bnexp.errors import ConfigError
from bnexp.norms.arithmetic import compiled, core
from bnexp.norms.arithmetic.derivatives import normalize_by_batch
from bnexp.norms.custom import CustomNorm

pytestmark = [
    pytest.mark.skipif(core.load() is None, reason="no C compiler here"),
    # torch's own forward-mode rules raise it once in a process, where they are first used
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning"),
]

EPS = 1e-5
SHAPES = [
    (2, 1),
    (8, 15),
    (8, 16),
    (5, 33),
    (128, 120),
    (30, 600),
    (1, 3, 2),
    (4, 6, 28, 28),
    (3, 17, 2, 3, 2),
]
Everything = tuple[Tensor, ...]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def written_out(x: Tensor, dy: Tensor, weight: Tensor | None, bias: Tensor | None) -> Everything:
    """Return y, mean, batch_var, dx, dweight, dbias in float64, differentiated by autograd."""
    x = x.double().requires_grad_()
    weight = torch.ones(x.shape[1]) if weight is None else weight
    bias = torch.zeros(x.shape[1]) if bias is None else bias
    weight, bias = (v.detach().double().requires_grad_() for v in (weight, bias))
    rows = x.movedim(1, -1).reshape(-1, x.shape[1])
    mean, var = rows.mean(0), rows.var(0, unbiased=False)
    y = (rows - mean) / torch.sqrt(var + EPS) * weight + bias
    y = y.view(*x.movedim(1, -1).shape).movedim(-1, 1)
    gradients = torch.autograd.grad(y, (x, weight, bias), dy.double())
    return y.detach(), mean.detach(), var.detach(), *gradients


def run(x: Tensor, dy: Tensor, weight: Tensor | None, bias: Tensor | None, how: str = "auto") -> Everything:
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    leaves = [x, *(v for v in (weight, bias) if v is not None)]
    y, mean, var = normalize_by_batch(x, weight, bias, EPS, how)
    return y.detach(), mean, var, *torch.autograd.grad(y, leaves, dy)


def parameters(features: int) -> tuple[nn.Parameter, nn.Parameter]:
    return nn.Parameter(1 + drawn(features, seed=2) / 4), nn.Parameter(drawn(features, seed=3))


def compare(found: Everything, wanted: Everything, rtol: float, atol: float) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert_close(one.double(), other.double(), rtol=rtol, atol=atol * max(1.0, float(other.abs().max())))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_the_formula(shape: tuple[int, ...]) -> None:
    x, dy, given = drawn(*shape) * 3 + 1, drawn(*shape, seed=1), parameters(shape[1])
    assert compiled.usable(x, *given)
    compare(run(x, dy, *given), written_out(x, dy, *given), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 6, 28, 28), (3, 17, 2, 3, 2), (4, 16, 9, 9)], ids=str)
def test_channels_last_memory_stays_and_gives_the_same(shape: tuple[int, ...]) -> None:
    layout = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    x, dy, given = drawn(*shape).to(memory_format=layout), drawn(*shape, seed=1), parameters(shape[1])
    assert compiled.usable(x, *given)
    found = run(x, dy, *given)
    assert found[0].is_contiguous(memory_format=layout)
    compare(found, written_out(x, dy, *given), rtol=1e-5, atol=1e-6)


def test_without_weight_and_bias() -> None:
    x, dy = drawn(8, 5, 3), drawn(8, 5, 3, seed=1)
    assert compiled.usable(x, None, None)
    compare(run(x, dy, None, None), written_out(x, dy, None, None)[:4], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("offset", [1e3, -1e3, 1e5])
def test_a_mean_far_from_zero_costs_no_digits(offset: float) -> None:
    x, dy, given = drawn(64, 7, 5, 5) + offset, drawn(64, 7, 5, 5, seed=1), parameters(7)
    y, mean, var, *_ = run(x, dy, *given)
    wanted = written_out(x, dy, *given)
    assert_close(var.double(), wanted[2], rtol=1e-6, atol=0)
    assert_close(mean.double(), wanted[1], rtol=1e-7, atol=0)
    assert_close(y.double(), wanted[0], rtol=0, atol=1e-5)


def test_a_first_value_far_from_all_others_costs_no_digits() -> None:
    x, dy, given = drawn(64, 3, 4), drawn(64, 3, 4, seed=1), parameters(3)
    x[0, :, 0] = 1e4
    compare(run(x, dy, *given)[:3], written_out(x, dy, *given)[:3], rtol=1e-6, atol=1e-6)


def test_a_constant_channel_has_no_variance_and_finite_gradients() -> None:
    x, given = torch.full((16, 2), 1e3 / 3), parameters(2)
    y, _, var, dx, *_ = run(x, drawn(16, 2), *given)
    assert_close(var, torch.zeros(2), rtol=0, atol=0)
    assert_close(y, given[1].detach().expand(16, 2), rtol=0, atol=1e-5)
    assert dx.isfinite().all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_non_finite_value_spoils_its_channel_only(value: float) -> None:
    x, given = drawn(8, 17), parameters(17)
    x[3, 5] = value
    y, mean, var, *_ = run(x, drawn(8, 17, seed=1), *given)
    others = torch.arange(17) != 5
    assert not var[5].isfinite()
    assert not mean[5].isfinite()
    assert y[:, 5].isnan().all()
    assert y[:, others].isfinite().all()


def test_gradients_may_come_in_any_layout() -> None:
    x, given = drawn(6, 4, 5, 5), parameters(4)
    dense = drawn(6, 4, 5, 5, seed=1)
    spread = drawn(1, 4, 1, 1, seed=1).expand(6, 4, 5, 5)
    for dy in (dense.to(memory_format=torch.channels_last), spread, dense.transpose(2, 3)):
        compare(run(x, dy, *given), written_out(x, dy, *given), rtol=1e-5, atol=1e-6)


def test_only_what_needs_a_gradient_gets_one() -> None:
    x, (weight, bias) = drawn(8, 3), parameters(3)
    y, _, _ = normalize_by_batch(x, weight, bias.detach(), EPS)
    y.square().sum().backward()
    assert weight.grad is not None
    assert bias.grad is None


def test_second_derivatives_and_forward_mode_agree_with_the_torch_operations() -> None:
    x, given = drawn(8, 3), parameters(3)

    def slope_of_slope(how: str) -> Tensor:
        leaf = x.clone().requires_grad_()
        y, _, _ = normalize_by_batch(leaf, *given, EPS, how)
        (first,) = torch.autograd.grad(y.pow(3).sum(), leaf, create_graph=True)
        return torch.autograd.grad(first.square().sum(), leaf)[0]

    assert_close(slope_of_slope("auto"), slope_of_slope("eager"), rtol=1e-4, atol=1e-4)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, drawn(8, 3, seed=1))
        tangents = [
            torch.autograd.forward_ad.unpack_dual(normalize_by_batch(dual, *given, EPS, how)[0]).tangent
            for how in ("auto", "eager")
        ]
    assert_close(*tangents, rtol=1e-5, atol=1e-6)


def test_it_leaves_what_it_cannot_take_to_torch() -> None:
    x, given = drawn(8, 4, 6, 6), parameters(4)
    assert compiled.usable(x, *given)
    assert not compiled.usable(x.double(), *given)
    assert not compiled.usable(x.half(), *given)
    assert not compiled.usable(x[..., ::2], *given)
    assert not compiled.usable(x, given[0].double(), None)
    assert not compiled.usable(x.to("meta"), *given)
    seen = []
    torch.func.vmap(lambda v: seen.append(compiled.usable(v, *given)) or v)(x)
    assert seen == [False]


def test_values_that_are_not_in_memory_are_left_to_torch() -> None:
    """Zeros without memory have a null pointer; a negated view is -1 times what its memory holds."""
    x, dy, (weight, bias) = drawn(8, 4), drawn(8, 4, seed=1), parameters(4)
    zeros, negated = torch._efficientzerotensor(8, 4), torch.complex(x, -x).conj().imag
    assert zeros.data_ptr() == 0 and negated.is_neg()
    compare(run(x, zeros, weight, bias)[3:], [torch.zeros_like(v) for v in (x, weight, bias)], rtol=0, atol=0)
    assert_close(normalize_by_batch(zeros, weight, bias, EPS)[0], bias.expand(8, 4), rtol=0, atol=1e-6)
    compare(run(x, torch.complex(dy, -dy).conj().imag, weight, bias), run(x, dy, weight, bias), 1e-6, 1e-6)
    shift = torch.complex(bias, -bias).conj().imag.detach()
    one, other = (normalize_by_batch(x, weight, b, EPS)[0] for b in (shift, bias))
    assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_operations_that_are_recorded_are_torchs() -> None:
    """The compiled core leaves no trace: a recorded graph would return memory that nothing has written to."""
    x, dy, given = drawn(8, 4, 3), drawn(8, 4, 3, seed=1), parameters(4)

    def step(x: Tensor, dy: Tensor) -> Everything:
        leaf = x.detach().requires_grad_()
        y, *moments = normalize_by_batch(leaf, *given, EPS)
        return y.detach(), *moments, *torch.autograd.grad(y, [leaf, *given], dy)

    other, other_dy = drawn(8, 4, 3, seed=5), drawn(8, 4, 3, seed=6)
    recorded = make_fx(step)(x, dy)
    with torch.no_grad():
        replayed = recorded(other, other_dy)
    compare(replayed, step(other, other_dy), rtol=1e-5, atol=1e-6)
    y, _, _ = normalize_by_batch(leaf := other.clone().requires_grad_(), *given, EPS)
    backward = make_fx(lambda dy: torch.autograd.grad(y, leaf, dy, retain_graph=True)[0])(dy)
    with torch.no_grad():
        replayed = backward(other_dy)
    assert_close(replayed, torch.autograd.grad(y, leaf, other_dy)[0], rtol=1e-5, atol=1e-6)


def test_saved_tensors_may_come_back_in_another_layout() -> None:
    x, dy, given = drawn(6, 4, 5, 5), drawn(6, 4, 5, 5, seed=1), parameters(4)

    def moved(v: Tensor) -> Tensor:
        return v.transpose(2, 3).contiguous().transpose(2, 3) if v.dim() == 4 else v

    with torch.autograd.graph.saved_tensors_hooks(lambda v: v.clone(), moved):
        compare(run(x, dy, *given), written_out(x, dy, *given), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("threads", [2, 3, 100])
@pytest.mark.parametrize(
    "shape", [(3000, 33), (10000, 7), (700, 120), (64, 6, 28, 28), (300, 3, 9, 9), (70000, 1)]
)
@pytest.mark.parametrize("channels_last", [False, True])
def test_threads_share_large_inputs_and_change_no_bit(
    shape: tuple[int, ...], threads: int, channels_last: bool
) -> None:
    x, dy = drawn(*shape), drawn(*shape, seed=1)
    if channels_last and len(shape) == 4:
        x, dy = (v.to(memory_format=torch.channels_last) for v in (x, dy))
    weight, bias = drawn(shape[1], seed=2), drawn(shape[1], seed=3)

    def everything() -> list[Tensor]:
        y, mean, var, rstd = compiled.by_batch(x, weight, bias, EPS)
        found = compiled.gradients(dy, x, mean, rstd, weight, of_x=True)
        return [y, mean, var, rstd, *(v for v in found if v is not None)]

    alone, before = everything(), torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert compiled.sizes(x)[3] == threads
        together = everything()
    finally:
        torch.set_num_threads(before)
    assert len(alone) == 7
    assert all(torch.equal(one, other) for one, other in zip(together, alone, strict=True))


def test_eager_and_compiled_training_stay_together() -> None:
    layers = [CustomNorm(5, (3,), core=how) for how in ("auto", "eager")]
    for seed in range(10):
        one, other = (layer(drawn(8, 5, 3, seed=seed) * 2 + 1) for layer in layers)
        assert_close(one, other, rtol=1e-5, atol=1e-6)
    for name, buffer in layers[0].state_dict().items():
        assert_close(buffer, layers[1].state_dict()[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("running_var", ["unbiased", "biased"])
def test_buffers_move_as_the_definition_says(momentum: float, running_var: RunningVar) -> None:
    """Four batches of five values; in float32, so to its rounding."""
    norm = CustomNorm(7, (), momentum=momentum, running_var=running_var)
    batches = [torch.randn(5, 7, generator=torch.Generator().manual_seed(seed)) * 3 + 1 for seed in range(4)]
    buffers, versions = (norm.running_mean, norm.running_var), []
    assert compiled.movable(*buffers)
    for x in batches:
        norm(x)
        versions.append(buffers[0]._version)
    given = [x.double().numpy() for x in batches]
    mean, var = running_statistics(given, momentum, biased=running_var == "biased")
    assert_close(norm.running_mean, mean, rtol=1e-5, atol=1e-6)
    assert_close(norm.running_var, var, rtol=1e-5, atol=1e-6)
    assert norm.running_mean is buffers[0]
    assert versions == sorted(set(versions))  # autograd saw each write


def test_a_buffer_that_equals_the_batch_stays_where_it_is() -> None:
    mean, var = torch.tensor([0.1, 3.0, -7.0]), torch.tensor([0.3, 2.0, 1e-8])
    for momentum in (0.1, 0.9):
        running = mean.clone(), var.clone()
        compiled.move(*running, mean, var, unbias=1.0, momentum=momentum)
        assert torch.equal(running[0], mean) and torch.equal(running[1], var)


def test_another_core_is_refused() -> None:
    with pytest.raises(ConfigError, match="core must be one of auto, eager, got 'gpu'"):
        CustomNorm(3, (), core="gpu")


def loaded(tmp_path: Path, **environment: str) -> str:
    """Return whether a fresh process has the core and a working layer."""
    code = (
        "import torch; from bnexp.norms.arithmetic import core; from bnexp.norms.custom import CustomNorm; "
        "y = CustomNorm(3, ())(torch.randn(8, 3)); "
        "print(core.load() is not None, y.mean().abs().item() < 1e-6)"
    )
    given = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")} | environment
    done = subprocess.run(
        [sys.executable, "-c", code], env=given, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


def test_it_is_built_once_and_kept(tmp_path: Path) -> None:
    assert loaded(tmp_path) == "True True"
    (library,) = (tmp_path / "cache" / "bnexp").iterdir()
    built = library.stat().st_mtime_ns
    assert loaded(tmp_path) == "True True"
    assert library.stat().st_mtime_ns == built


@pytest.mark.parametrize(
    "environment",
    [{"PATH": "/nowhere"}, {"CC": "false"}, {"XDG_CACHE_HOME": "/dev/null"}],
    ids=["no compiler", "a compiler that fails", "no cache"],
)
def test_without_a_core_the_layer_works(tmp_path: Path, environment: dict[str, str]) -> None:
    assert loaded(tmp_path, **environment) == "False True"
