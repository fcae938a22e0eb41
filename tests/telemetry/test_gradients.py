"""The gradient histograms against numpy and against a network without probes."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import watched

from bnexp.engine.rows import read
from bnexp.telemetry.counting import GRADIENTS
from bnexp.telemetry.gradients import GradientProbe
from bnexp.telemetry.intervals import Intervals


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
