"""The gradient norm against numpy in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from bnexp.engine.rows import read
from bnexp.protocols import Batch
from bnexp.telemetry.gradient_norm import GradientNorm


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 3))
    model[0].bias.requires_grad_(False)
    model(torch.randn(11, 5)).square().sum().backward()
    return model


def test_it_is_the_length_of_all_gradients_as_one_vector(model):
    parts = [p.grad.double().numpy().ravel() for p in model.parameters() if p.grad is not None]
    oracle = float(np.sqrt(np.sum(np.concatenate(parts) ** 2)))
    assert len(parts) == 5
    assert read([GradientNorm(1).measure(model, 0)])[0].scalars == {
        "grad_norm": pytest.approx(oracle, rel=1e-5, abs=0)
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_shows(model, value):
    model[2].weight.grad[0, 0] = value
    assert read([GradientNorm(1).measure(model, 0)])[0].scalars["grad_norm"] == pytest.approx(
        value, nan_ok=True
    )


def test_without_gradients_it_is_0():
    assert read([GradientNorm(1).measure(nn.Linear(2, 2), 0)])[0].scalars == {"grad_norm": 0.0}


def test_it_changes_nothing(model):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    probe = GradientNorm(1)
    batch = Batch(torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64))
    with probe.watching(model, batch, 0):
        read([probe.measure(model, 0)])
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    for parameter, before in zip(model.parameters(), gradients, strict=True):
        assert (parameter.grad is None) if before is None else torch.equal(parameter.grad, before)


@pytest.mark.parametrize(("every", "due"), [(1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (20, [0]), (None, [])])
def test_it_is_due_at_step_0_and_every_so_many_steps(every, due):
    assert [step for step in range(5) if GradientNorm(every).due(step)] == due


@pytest.mark.parametrize("every", [0, -1])
def test_an_interval_below_one_is_refused(every):
    with pytest.raises(ValueError, match="every must be at least 1"):
        GradientNorm(every)
