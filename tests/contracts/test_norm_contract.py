"""What every norm under conf/norm/ promises: found by walking the folder, so a new YAML is tested at once."""

from __future__ import annotations

import copy
import importlib
import inspect
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from oracles import assert_close
from torch import Tensor, nn
from torch.autograd import gradcheck

from bnexp.choices import ABOUT
from bnexp.models.dropout import seed_noise
from bnexp.norms.contract.traits import BoundNorm, bind

FOLDER = Path(__file__).parents[2] / "conf" / "norm"
CHOICES = sorted(FOLDER.rglob("*.yaml"))
RUNTIME = ("num_features", "spatial")
DENSE, CONV = (8, 16), (4, 16, 5, 5)


def read(path: Path) -> tuple[Any, dict[str, Any]]:
    """Return the target and the knobs of a norm's YAML, with torch's values for what the root sets."""
    text = path.read_text(encoding="utf-8").replace("${momentum}", "0.1").replace("${eps}", "1.0e-05")
    node = yaml.safe_load(text)
    module, _, name = node.pop("_target_").rpartition(".")
    assert node.pop("_partial_") is True
    knobs = {key: value for key, value in node.items() if key not in ABOUT}
    return getattr(importlib.import_module(module), name), knobs


@pytest.fixture(params=CHOICES, ids=lambda path: path.stem)
def choice(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def factory(choice: Path) -> BoundNorm:
    target, knobs = read(choice)
    return bind(partial(target, **knobs))


@pytest.fixture(params=[DENSE, CONV], ids=["dense", "conv"])
def shape(request: pytest.FixtureRequest) -> tuple[int, ...]:
    return request.param


def make(factory: BoundNorm, shape: tuple[int, ...]) -> nn.Module:
    """Return a float64 layer for that input, drawn from one stream if it draws anything."""
    torch.manual_seed(0)
    return factory(shape[1], shape[2:]).double()


def afresh(norm: nn.Module) -> nn.Module:
    """Return a copy whose noise is seeded: calls that are compared start from one state and draw alike."""
    fresh = copy.deepcopy(norm)
    seed_noise(fresh, 0, "cpu")
    return fresh


def warm(norm: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Return the norm after three training batches, in eval mode."""
    for seed in range(10, 13):
        norm(draw(shape, seed))
    return norm.eval()


def draw(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5


def moves(output: Tensor, other: Tensor) -> bool:
    return not torch.allclose(output, other, rtol=1e-6, atol=1e-6)


def test_the_folder_is_found() -> None:
    assert {"custom", "builtin", "group", "none"} <= {path.stem for path in CHOICES}


def test_the_first_line_describes_the_choice(choice: Path) -> None:
    first = choice.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith(".")
    assert len(first) <= 110


def test_the_yaml_lists_exactly_the_knobs(choice: Path) -> None:
    target, knobs = read(choice)
    parameters = inspect.signature(target).parameters.values()
    assert not [p for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)], (
        "a misspelt knob would pass"
    )
    runtime = [p.name for p in parameters if p.default is p.empty]
    assert tuple(runtime) == RUNTIME
    given = {p.name: p.default for p in parameters if p.default is not p.empty}
    assert knobs == given, "the YAML shows the defaults of the code"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_shape_and_dtype_stay(
    factory: BoundNorm, shape: tuple[int, ...], dtype: torch.dtype, training: bool
) -> None:
    norm = factory(shape[1], shape[2:]).to(dtype).train(training)
    x = draw(shape).to(dtype).requires_grad_()
    y = norm(x)
    y.sum().backward()
    assert (y.shape, y.dtype) == (x.shape, dtype)
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_no_examples_give_none_and_gradients_of_zero(
    factory: BoundNorm, shape: tuple[int, ...], training: bool
) -> None:
    norm = make(factory, shape).train(training)
    x = draw(shape)[:0].requires_grad_()
    y = norm(x)
    y.sum().backward()
    assert (y.shape, y.dtype) == (x.grad.shape, x.dtype) == (x.shape, x.dtype)
    for name, parameter in norm.named_parameters():
        assert torch.equal(parameter.grad, torch.zeros_like(parameter)), name


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_gradients_agree_with_finite_differences(
    factory: BoundNorm, shape: tuple[int, ...], training: bool
) -> None:
    small = (3, 16, *(2 for _ in shape[2:]))
    norm = make(factory, small).train(training)

    def function(x: Tensor, *parameters: Tensor) -> Tensor:
        names = [name for name, _ in norm.named_parameters()]
        return torch.func.functional_call(afresh(norm), dict(zip(names, parameters, strict=True)), (x,))

    start = [parameter.detach().requires_grad_() for parameter in norm.parameters()]
    assert gradcheck(function, (draw(small).requires_grad_(), *start))


def test_a_state_dict_carries_the_whole_layer(factory: BoundNorm, shape: tuple[int, ...]) -> None:
    norm, fresh = warm(make(factory, shape), shape), make(factory, shape).eval()
    fresh.load_state_dict(norm.state_dict())
    assert_close(fresh(draw(shape)), norm(draw(shape)), rtol=0, atol=0)


def test_eval_treats_each_example_alone(factory: BoundNorm, shape: tuple[int, ...]) -> None:
    norm, x = warm(make(factory, shape), shape), draw(shape)
    alone = torch.cat([norm(x[i : i + 1]) for i in range(len(x))])
    assert_close(norm(x), alone, rtol=1e-12, atol=1e-12)


def test_eval_leaves_the_buffers(factory: BoundNorm, shape: tuple[int, ...]) -> None:
    norm = warm(make(factory, shape), shape)
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    norm(draw(shape, 5))
    for name, buffer in norm.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_weight_and_bias_start_as_identity(factory: BoundNorm, shape: tuple[int, ...]) -> None:
    norm = make(factory, shape)
    for name, start in (("weight", 1.0), ("bias", 0.0)):
        value = getattr(norm, name, None)
        if value is not None:
            assert_close(value, torch.full_like(value, start), rtol=0, atol=0)


def test_it_says_whether_it_removes_the_channel_mean(factory: BoundNorm, shape: tuple[int, ...]) -> None:
    norm, x = make(factory, shape), draw(shape)
    constant_C = draw((shape[1],), 1).view(-1, *(1 for _ in shape[2:]))
    y, moved = afresh(norm)(x), afresh(norm)(x + constant_C)
    stands_in = factory.needs_extent and not shape[2:]
    if factory.removes_channel_mean and not stands_in:
        assert_close(moved, y, rtol=1e-10, atol=1e-10)
    else:
        assert moves(moved, y)


def test_it_says_whether_training_uses_the_batch(factory: BoundNorm, shape: tuple[int, ...]) -> None:
    norm, x = make(factory, shape), draw(shape)
    mates = x.clone()
    mates[1:] = draw(shape, 1)[1:] * 3
    first, with_others = afresh(norm)(x)[0], afresh(norm)(mates)[0]
    if factory.batch_statistics:
        assert moves(with_others, first)
    else:
        assert_close(with_others, first, rtol=1e-12, atol=1e-12)


def test_two_layers_share_nothing(factory: BoundNorm, shape: tuple[int, ...]) -> None:
    one, other = make(factory, shape), make(factory, shape)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    one(draw(shape).requires_grad_()).sum().backward()
    for name, value in other.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in other.parameters())
