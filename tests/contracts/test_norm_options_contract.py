"""Ghost batches, guard and freezing, over every norm under conf/norm that they apply to."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import pytest
import torch
from oracles import assert_close
from test_norm_contract import CHOICES, CONV, DENSE, draw, read
from torch import Tensor, nn

from bnexp.norms.contract.traits import BoundNorm, bind
from bnexp.norms.modifiers.freeze import Freeze
from bnexp.norms.modifiers.ghost import ghost
from bnexp.norms.modifiers.guard import guarded
from bnexp.norms.modifiers.overlay import running_statistics

State = dict[str, Tensor]
EXAMPLES, NORM_BATCH, CHUNKS = 13, 4, (4, 4, 5)


def factory_of(path: Path) -> BoundNorm:
    target, knobs = read(path)
    return bind(partial(target, **knobs))


def choices(wanted: str) -> list[object]:
    """Return the choices that measure the batch, or that keep running statistics, as parameters."""
    found = []
    for path in CHOICES:
        factory = factory_of(path)
        tracks = bool(running_statistics(factory(2, ())))
        if {"batch": factory.batch_statistics, "running": tracks}[wanted]:
            found.append(pytest.param(factory, id=path.stem))
    return found


measuring = pytest.mark.parametrize("factory", choices("batch"))
tracking = pytest.mark.parametrize("factory", choices("running"))
shapes = pytest.mark.parametrize("shape", [DENSE, CONV], ids=["dense", "conv"])


def pair(factory: BoundNorm, option: BoundNorm, shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    """Return a plain float64 layer after two batches, and one with the option in the same state."""
    torch.manual_seed(0)
    plain, other = (make(shape[1], shape[2:]).double() for make in (factory, option))
    for seed in (10, 11):
        plain(draw(shape, seed))
    with torch.no_grad():
        for seed, parameter in enumerate(plain.parameters()):
            parameter.add_(draw(parameter.shape, seed))
    other.load_state_dict(plain.state_dict())
    return plain, other


def batch(shape: tuple[int, ...], seed: int = 3) -> Tensor:
    return draw((EXAMPLES, *shape[1:]), seed).requires_grad_()


def answer(norm: nn.Module, x: Tensor) -> tuple[Tensor, State]:
    """Return the output of one pass, the same noise drawn each time, and the state after it."""
    torch.manual_seed(1)
    return norm(x), {name: value.clone() for name, value in norm.state_dict().items()}


def by_hand(plain: nn.Module, x: Tensor, dy: Tensor) -> tuple[Tensor, list[State]]:
    """Pass each chunk alone through the plain layer and back, from the same state; return all states left."""
    start = copy.deepcopy(plain.state_dict())
    torch.manual_seed(1)
    outputs, states, first = [], [], 0
    for size in CHUNKS:
        plain.load_state_dict(start)
        y = plain(x[first : first + size])
        y.backward(dy[first : first + size])
        outputs.append(y.detach())
        states.append(copy.deepcopy(plain.state_dict()))
        first += size
    return torch.cat(outputs), states


def assert_equal_states(one: State, other: State) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@measuring
@shapes
def test_each_chunk_is_a_batch_of_its_own(factory: BoundNorm, shape: tuple[int, ...]) -> None:
    plain, ghosts = pair(factory, ghost(factory, NORM_BATCH), shape)
    x, x_ghosts = batch(shape), batch(shape)
    dy = draw(tuple(x.shape), 4)
    y, states = by_hand(plain, x, dy)
    y_ghosts, state = answer(ghosts, x_ghosts)
    y_ghosts.backward(dy)
    assert_close(y_ghosts, y, rtol=0, atol=0)
    assert_close(x_ghosts.grad, x.grad, rtol=0, atol=0)
    for parameter, wanted in zip(ghosts.parameters(), plain.parameters(), strict=True):
        assert_close(parameter.grad, wanted.grad, rtol=1e-12, atol=1e-12)
    for name, value in state.items():
        left = torch.stack([each[name] for each in states])
        if value.is_floating_point():
            wanted = torch.einsum("s,s...->...", torch.tensor(CHUNKS).double() / EXAMPLES, left)
            assert_close(value, wanted, rtol=1e-12, atol=1e-12)
        else:
            assert (left == value).all(), name


@measuring
@shapes
@pytest.mark.parametrize("norm_batch", [EXAMPLES - 1, EXAMPLES, EXAMPLES + 1])
def test_one_chunk_is_the_plain_layer_bit_for_bit(
    factory: BoundNorm, shape: tuple[int, ...], norm_batch: int
) -> None:
    plain, ghosts = pair(factory, ghost(factory, norm_batch), shape)
    (y, state), (y_ghosts, state_ghosts) = answer(plain, batch(shape)), answer(ghosts, batch(shape))
    assert torch.equal(y_ghosts, y)
    assert_equal_states(state_ghosts, state)


@measuring
@shapes
def test_evaluation_knows_no_chunks(factory: BoundNorm, shape: tuple[int, ...]) -> None:
    plain, ghosts = pair(factory, ghost(factory, NORM_BATCH), shape)
    (y, state), (y_ghosts, state_ghosts) = (answer(norm.eval(), batch(shape)) for norm in (plain, ghosts))
    assert torch.equal(y_ghosts, y)
    assert_equal_states(state_ghosts, state)


@measuring
def test_names_class_and_copies_stay(factory: BoundNorm) -> None:
    plain, ghosts = pair(factory, guarded(ghost(factory, NORM_BATCH)), DENSE)
    assert isinstance(ghosts, type(plain))
    assert type(ghosts).__name__ == type(plain).__name__
    assert ghosts.state_dict().keys() == plain.state_dict().keys()
    assert "norm_batch=4" in repr(ghosts)
    twin = copy.deepcopy(ghosts)
    before = copy.deepcopy(ghosts.state_dict())
    (y, state), (y_twin, state_twin) = answer(ghosts, batch(DENSE)), answer(twin, batch(DENSE))
    assert torch.equal(y, y_twin)
    assert_equal_states(state, state_twin)
    assert any(not torch.equal(state[name], before[name]) for name in state)


@tracking
@shapes
def test_a_guard_changes_nothing_while_all_is_finite(factory: BoundNorm, shape: tuple[int, ...]) -> None:
    plain, guard = pair(factory, guarded(factory), shape)
    x, x_guard = batch(shape), batch(shape)
    (y, state), (y_guard, state_guard) = answer(plain, x), answer(guard, x_guard)
    y.square().sum().backward()
    y_guard.square().sum().backward()
    assert torch.equal(y_guard, y) and torch.equal(x_guard.grad, x.grad)
    assert_equal_states(state_guard, state)


@tracking
@shapes
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("ghosts", [False, True])
def test_a_guard_keeps_the_buffers_and_not_the_output(
    factory: BoundNorm, shape: tuple[int, ...], value: float, ghosts: bool
) -> None:
    option = ghost(factory, NORM_BATCH) if ghosts else factory
    plain, guard = pair(option, guarded(option), shape)
    bad = batch(shape).detach()
    bad[-1, 0] = value
    before = copy.deepcopy(guard.state_dict())
    (y, _), (y_guard, state) = answer(plain, bad), answer(guard, bad)
    assert torch.equal(y_guard.nan_to_num(7.0), y.nan_to_num(7.0))
    assert_equal_states(state, before)


@tracking
@shapes
def test_frozen_statistics_make_training_evaluation(factory: BoundNorm, shape: tuple[int, ...]) -> None:
    plain, layer = pair(factory, factory, shape)
    freeze = Freeze([layer], after=5, what="statistics")
    before = copy.deepcopy(layer.state_dict())
    freeze(5)
    layer.train()
    y, state = answer(layer, batch(shape))
    assert torch.equal(y, answer(plain.eval(), batch(shape))[0])
    assert_equal_states(state, before)
    freeze(4)
    assert torch.equal(answer(layer, batch(shape))[0], answer(plain.train(), batch(shape))[0])
    assert_equal_states(layer.state_dict(), plain.state_dict())
