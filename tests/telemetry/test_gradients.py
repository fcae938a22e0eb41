"""The gradient norm and histograms against numpy in float64 and against a network without probes."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import watched
from torch import nn

from bnexp.engine.rows import read
from bnexp.protocols import Batch
from bnexp.telemetry.counting import GRADIENTS
from bnexp.telemetry.gradients import GradientNorm, GradientProbe
from bnexp.telemetry.intervals import Intervals

EACH = Intervals(1, None)


def probe(model, every=50):
    return GradientProbe(dict(model.named_parameters()), Intervals(1, every))


def numpy_counts(gradient):
    edges = np.array([-math.inf, *GRADIENTS.limits[:-1], math.inf])
    return np.histogram(-gradient.double().numpy().ravel(), -edges[::-1])[0][::-1].tolist()


def test_every_parameter_has_the_histogram_of_its_gradient():
    model, batch = watched.network(), watched.images()
    found = watched.look([probe(model)], model, batch)
    bare = watched.network()
    F.cross_entropy(bare(batch.inputs), batch.targets).backward()
    assert list(found.histograms) == [f"gradient/{name}" for name, _ in bare.named_parameters()]
    for name, parameter in bare.named_parameters():
        drawn = found.histograms[f"gradient/{name}"]
        assert drawn.counts == numpy_counts(parameter.grad)
        assert drawn.total == pytest.approx(parameter.grad.double().sum().item(), rel=1e-12, abs=1e-15)


def test_the_gradient_of_several_passes_is_their_sum():
    model, batches = watched.network(), [watched.images(seed=1), watched.images(seed=2)]
    found = watched.look([probe(model)], model, *batches)
    bare = watched.network()
    for batch in batches:
        F.cross_entropy(bare(batch.inputs), batch.targets).backward()
    assert found.histograms["gradient/conv1.linear.weight"].counts == numpy_counts(
        bare.conv1.linear.weight.grad
    )


def test_values_that_are_not_finite_are_told_under_the_parameter_s_name():
    model = watched.network()
    watched.look([], model, watched.images())
    model.classifier.weight.grad[0, :3] = torch.tensor([math.nan, math.inf, -math.inf])
    found = read([probe(model).measure(model, 0)])[0]
    assert found.scalars["nonfinite/classifier.weight"] == 3
    assert found.scalars["nonfinite/classifier.bias"] == 0
    assert sum(found.histograms["gradient/classifier.weight"].counts) == model.classifier.weight.numel() - 3


def test_parameters_without_a_gradient_are_left_out():
    model = watched.network()
    model.conv1.linear.weight.requires_grad_(False)
    found = watched.look([probe(model)], model, watched.images())
    assert "gradient/conv1.linear.weight" not in found.histograms
    assert "gradient/conv1.norm.weight" in found.histograms


def test_without_any_gradient_there_is_no_reading():
    model = watched.network()
    assert probe(model).measure(model, 0) == []


@pytest.mark.parametrize(("every", "due"), [(1, [0, 1, 2, 3, 4]), (3, [0, 3]), (50, [0]), (None, [])])
def test_it_is_due_with_the_histograms_step_0_included(every, due):
    model = watched.network()
    assert [step for step in range(5) if probe(model, every).due(step)] == due


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
    assert read([GradientNorm(EACH).measure(model, 0)])[0].scalars == {
        "grad_norm": pytest.approx(oracle, rel=1e-5, abs=0)
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_shows(model, value):
    model[2].weight.grad[0, 0] = value
    assert read([GradientNorm(EACH).measure(model, 0)])[0].scalars["grad_norm"] == pytest.approx(
        value, nan_ok=True
    )


def test_without_gradients_it_is_0():
    assert read([GradientNorm(EACH).measure(nn.Linear(2, 2), 0)])[0].scalars == {"grad_norm": 0.0}


def test_it_changes_nothing(model):
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    probe = GradientNorm(EACH)
    batch = Batch(torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64))
    with probe.watching(model, batch, 0):
        read([probe.measure(model, 0)])
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    for parameter, before in zip(model.parameters(), gradients, strict=True):
        assert (parameter.grad is None) if before is None else torch.equal(parameter.grad, before)


@pytest.mark.parametrize(("every", "due"), [(1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (20, [0]), (None, [])])
def test_it_is_due_at_step_0_and_every_so_many_steps(every, due):
    assert [step for step in range(5) if GradientNorm(Intervals(every, None)).due(step)] == due


def test_the_end_of_a_run_is_due_unless_nothing_is():
    for every, due in ((3, [0, 3, 4]), (None, [])):
        probe = GradientNorm(Intervals(every, None))
        probe.end(4)
        assert [step for step in range(5) if probe.due(step)] == due
