"""The matrix's formulas against the tests' own oracles: two people's reading of the same papers."""

from __future__ import annotations

import oracles as slow
import pytest
import torch
from oracles import assert_close, to_array
from torch import Tensor

from bnexp.parity import closed_forms, oracles
from bnexp.parity.differences import along, gradient
from bnexp.parity.oracles import Given

SHAPES = pytest.mark.parametrize("shape", [(5, 8), (3, 8, 2, 3)], ids=str)
KNOBS = {"eps": 0.1, "momentum": 0.3, "num_groups": "auto"}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def given(x: Tensor, training: bool) -> Given:
    names = ("weight", "bias", "running_mean", "running_var")
    state = {name: draw(8, seed=seed) for seed, name in enumerate(names, 1)}
    state["running_var"] = state["running_var"].abs()
    return Given(x, x, state, KNOBS, training)


@SHAPES
def test_batch_norm_in_training(shape: tuple[int, ...]) -> None:
    case = given(draw(*shape), training=True)
    weight, bias = (to_array(case.state[name]) for name in ("weight", "bias"))
    assert_close(
        oracles.batch(case), slow.batch_norm(to_array(case.x), weight, bias, 0.1), rtol=1e-12, atol=1e-12
    )


@SHAPES
def test_batch_norm_in_evaluation(shape: tuple[int, ...]) -> None:
    case = given(draw(*shape), training=False)
    state = [to_array(case.state[name]) for name in ("running_mean", "running_var", "weight", "bias")]
    expected = slow.batch_norm_eval(to_array(case.x), *state, 0.1)
    assert_close(oracles.batch(case), expected, rtol=1e-12, atol=1e-12)
    assert_close(oracles.frozen(case), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("shape", "groups"), [((5, 8), 1), ((3, 8, 2, 3), 4), ((3, 8, 1, 1), 1)], ids=str)
def test_group_norm(shape: tuple[int, ...], groups: int) -> None:
    case = given(draw(*shape), training=True)
    weight, bias = (to_array(case.state[name]) for name in ("weight", "bias"))
    expected = slow.group_norm(to_array(case.x), groups, weight, bias, 0.1)
    assert_close(oracles.group(case), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.3, None, 0.0, 1.0])
def test_running_statistics(momentum: float | None) -> None:
    batches = [draw(4 + seed, 8, 2, seed=seed) for seed in range(3)]
    start = {
        "running_mean": torch.zeros(8, dtype=torch.float64),
        "running_var": torch.ones(8, dtype=torch.float64),
        "num_batches_tracked": torch.tensor(0),
    }
    found = closed_forms.batch(batches, start, {"momentum": momentum})
    mean, var = slow.running_statistics([to_array(x) for x in batches], momentum)
    assert_close(found["running_mean"], mean, rtol=1e-12, atol=1e-12)
    assert_close(found["running_var"], var, rtol=1e-12, atol=1e-12)
    assert found["num_batches_tracked"] == 3


@pytest.mark.parametrize("mapped", [True, False])
def test_differences_find_a_known_gradient(mapped: bool) -> None:
    x = draw(3, 2)
    assert_close(
        gradient(lambda x: (x**3 + x.sin()).sum(), x, mapped=mapped),
        3 * x**2 + x.cos(),
        rtol=1e-10,
        atol=1e-10,
    )


def test_differences_along_a_line() -> None:
    x, v = draw(4), draw(4, seed=1)
    slope, constant = along(lambda step: [(x + step * v).exp(), x])
    assert_close(slope, v * x.exp(), rtol=1e-10, atol=1e-10)
    assert_close(constant, torch.zeros(4), rtol=0, atol=1e-10)
