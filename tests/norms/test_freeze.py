"""Freezing: what stays, what goes on, and that nothing thaws it but its own step."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from bnexp.models.part_names import norm_places
from bnexp.norms.custom import CustomNorm
from bnexp.norms.group import group_norm
from bnexp.norms.modifiers.freeze import Freeze, step_of


def network() -> nn.Sequential:
    torch.manual_seed(0)
    body = nn.Sequential()
    body.add_module("linear", nn.Linear(4, 6))
    body.add_module("norm", CustomNorm(6, ()))
    head = nn.Sequential()
    head.add_module("linear", nn.Linear(6, 4))
    head.add_module("norm", group_norm(4, ()))
    return nn.Sequential(body, head)


def trained(model: nn.Module, freeze: Freeze | None, steps: range) -> dict[str, torch.Tensor]:
    """Return the state after steps of SGD with momentum and weight decay."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    generator = torch.Generator().manual_seed(1)
    for step in steps:
        if freeze is not None:
            freeze(step)
        optimizer.zero_grad(set_to_none=True)
        model(torch.randn(8, 4, generator=generator)).square().mean().backward()
        optimizer.step()
    return copy.deepcopy(model.state_dict())


def kinds(state: dict[str, torch.Tensor], before: dict[str, torch.Tensor]) -> dict[str, bool]:
    """Return which kinds of tensors moved at all."""
    moved = {name for name, value in state.items() if not torch.equal(value, before[name])}
    return {
        "statistics": any("running" in name or "tracked" in name for name in moved),
        "affine": any(name.endswith(("norm.weight", "norm.bias")) for name in moved),
        "weights": any("linear" in name for name in moved),
    }


@pytest.mark.parametrize("what", ["statistics", "affine", "both"])
@pytest.mark.parametrize("after", [0, 3])
def test_what_is_frozen_stays_bit_for_bit_and_the_rest_learns(what: str, after: int) -> None:
    frozen = {"statistics": {"statistics"}, "affine": {"affine"}, "both": {"statistics", "affine"}}[what]
    start = network()
    before = trained(start, None, range(after)) if after else copy.deepcopy(start.state_dict())
    model = network()
    freeze = Freeze(norm_places(model).values(), after=after, what=what)
    trained(model, freeze, range(after))
    state = trained(model, freeze, range(after, after + 3))
    moved = kinds(state, before)
    assert {kind for kind, value in moved.items() if not value} == frozen


def test_training_mode_does_not_thaw_and_evaluation_is_restored() -> None:
    model = network()
    freeze = Freeze(norm_places(model).values(), after=2, what="statistics")
    freeze(2)
    model.eval()
    model.train()
    norm = model.get_submodule("0.norm")
    assert model.training and not norm.training
    before = copy.deepcopy(norm.state_dict())
    model(torch.randn(8, 4))
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


def test_the_state_follows_from_the_step_in_any_order() -> None:
    model = network()
    freeze = Freeze(norm_places(model).values(), after=2, what="both")
    for step in (0, 1, 2, 5, 1, 2, 0):
        freeze(step)
        norm = model.get_submodule("0.norm")
        assert norm.training is (step < 2)
        norms = [p for name, p in model.named_parameters() if ".norm." in name]
        others = [p for name, p in model.named_parameters() if ".norm." not in name]
        assert all(p.requires_grad is (step < 2) for p in norms)
        assert all(p.requires_grad for p in others)


def test_a_norm_inside_a_norm_is_frozen_with_it() -> None:
    outer = nn.Sequential()
    outer.add_module("norm", CustomNorm(6, ()))
    model = nn.Sequential()
    model.add_module("norm", outer)
    freeze = Freeze(norm_places(model).values(), after=0, what="both")
    assert freeze.layers == [outer]
    freeze(0)
    model.train()
    assert not model.get_submodule("norm.norm").training


@pytest.mark.parametrize(
    ("after", "step"), [(0, 0), (1, 1), (7, 7), (0.0, 0), (0.5, 15), (0.1, 3), (0.99, 30)]
)
def test_a_fraction_is_of_the_run(after: float, step: int) -> None:
    assert step_of(after, 30) == step
