"""What goes in and out of norm layers, as the network computed it, against numpy."""

import math

import numpy as np
import pytest
import torch

from bnexp.engine.rows import read
from bnexp.telemetry.activations import Activations
from bnexp.telemetry.counting import ACTIVATIONS
from bnexp.telemetry.intervals import Due

BOTH = Due(scalars=True, histograms=True)


def observe(x, y, due=BOTH):
    observer = Activations(["conv1.norm"])
    observer.begin(due)
    observer.enter("conv1.norm", x)
    observer.leave("conv1.norm", y)
    return read([observer.readings()])[0]


def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 4, 5, 5, generator=generator) * 3 + 1, torch.randn(6, 4, 5, 5, generator=generator)


def test_both_sides_have_percentiles_and_histograms_under_their_tags():
    x, y = pair()
    found = observe(x, y)
    for side, values in (("in", x), ("out", y)):
        exact = np.percentile(values.numpy(), [15, 50, 85], method="nearest").tolist()
        assert [found.scalars[f"percentile/conv1.norm/{side}/{p}"] for p in (15, 50, 85)] == exact
        edges = np.array([-math.inf, *ACTIVATIONS.limits[:-1], math.inf])
        counts = np.histogram(-values.numpy(), -edges[::-1])[0][::-1].tolist()
        assert found.histograms[f"activation/conv1.norm/{side}"].counts == counts
    assert len(found.scalars) == 7 and len(found.histograms) == 2


@pytest.mark.parametrize("due", [BOTH, Due(True, False), Due(False, True)])
def test_non_finite_values_of_the_output_are_counted_whatever_is_due(due):
    x, y = pair()
    x[0, 0, 0, 0] = math.nan
    y[1, 2] = math.nan
    y[2, 3, 4, :2] = torch.tensor([math.inf, -math.inf])
    found = observe(x, y, due)
    assert found.scalars["nonfinite/conv1.norm"] == 27
    if due.histograms:
        assert sum(found.histograms["activation/conv1.norm/out"].counts) == y.numel() - 27
        assert sum(found.histograms["activation/conv1.norm/in"].counts) == x.numel() - 1


def test_only_what_is_due_is_measured():
    x, y = pair()
    assert not observe(x, y, Due(True, False)).histograms
    assert set(observe(x, y, Due(False, True)).scalars) == {"nonfinite/conv1.norm"}


def test_changing_the_tensors_afterwards_changes_nothing():
    x, y = pair()
    oracle = observe(x.clone(), y.clone())
    observer = Activations(["conv1.norm"])
    observer.begin(BOTH)
    observer.enter("conv1.norm", x)
    x.zero_()
    observer.leave("conv1.norm", y)
    y.fill_(math.nan)
    assert read([observer.readings()])[0] == oracle


def test_an_empty_batch_has_no_percentiles_and_empty_histograms():
    found = observe(torch.empty(0, 4), torch.empty(0, 4))
    assert found.scalars == {"nonfinite/conv1.norm": 0}
    assert sum(found.histograms["activation/conv1.norm/in"].counts) == 0


def test_a_layer_that_was_not_reached_has_no_reading():
    observer = Activations(["conv1.norm"])
    observer.begin(BOTH)
    assert observer.readings() == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_shown_as_it_is(dtype):
    x, y = (values.to(dtype) for values in pair())
    assert observe(x, y) == observe(x.float(), y.float())


def test_no_tag_is_a_scalar_and_a_histogram():
    found = observe(*pair())
    assert not found.scalars.keys() & found.histograms.keys()
    assert found.histograms.keys() == set(Activations(["conv1.norm"]).histogram_tags)


def test_away_from_the_cpu_nothing_is_read():
    observer = Activations(["norm"])
    observer.begin(BOTH)
    observer.enter("norm", torch.empty(8, 6, 28, 28, device="meta"))
    observer.leave("norm", torch.empty(8, 6, 28, 28, device="meta"))
    assert len(observer.readings()) == 3
