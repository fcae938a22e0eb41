"""Metrics of finished runs against a knob: means, intervals, points, crosses and the axis."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from synthetic_runs import OURS, config

from bnexp.analysis.records import Record
from bnexp.analysis.statistics import estimate
from bnexp.errors import ConfigError
from bnexp.figures.metric import draw_metric, is_logarithmic
from bnexp.runs.directory import RunDirectory
from bnexp.shorthand import as_norms_have

RATES = (0.01, 0.1, 1.0)


def record(norm="custom", rate=0.1, seed=0, accuracy=0.5, *, status="finished", started=0.0, **changed):
    settings = as_norms_have(config(norm, optimizer__lr=rate, seed=seed, **changed))
    measured = {"accuracy/test": accuracy, "split_examples": {"test": 100}}
    return Record(RunDirectory("x"), status, started, settings, measured)


@pytest.fixture
def records():
    return [
        record(
            norm,
            rate,
            seed,
            0.5 + 0.1 * place + 0.02 * seed + shift,
            started=-shift,
        )
        for norm, shift in (("custom", 0.0), ("none", -0.3))
        for place, rate in enumerate(RATES)
        for seed in range(3)
    ]


def panel(drawing):
    (axes,) = drawing.figure.axes
    return axes


def test_markers_are_means_and_bars_the_intervals_of_compare(records):
    axes = panel(draw_metric(records, "optimizer.lr", ["accuracy/test"]))
    for container, shift in zip(axes.containers, (0.0, -0.3), strict=True):
        line, _, (bars,) = container
        assert line.get_xdata().tolist() == list(RATES)
        for place, (mean, segment) in enumerate(zip(line.get_ydata(), bars.get_segments(), strict=True)):
            found = estimate([0.5 + 0.1 * place + 0.02 * seed + shift for seed in range(3)], step=1 / 100)
            assert mean == pytest.approx(found.mean)
            assert segment[:, 1] == pytest.approx([mean - found.half_width, mean + found.half_width])


def test_each_run_is_a_point_and_each_norm_a_line_of_its_colour(records):
    drawing = draw_metric(records, "optimizer.lr", ["accuracy/test"])
    points = [line for line in panel(drawing).lines if line.get_marker() == "."]
    assert sum(len(line.get_xdata()) for line in points) == len(records)
    names = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert names == [OURS, "no norm"]
    colours = [to_hex(container[0].get_color()) for container in panel(drawing).containers]
    assert len(set(colours)) == 2


def test_a_diverged_run_is_a_cross_at_the_worse_edge_and_in_no_mean(records):
    lost = record("custom", 1.0, 9, 0.01, status="diverged")
    drawing = draw_metric([*records, lost], "optimizer.lr", ["accuracy/test"])
    (cross,) = panel(drawing).texts
    assert cross.xy == (1.0, 0.0)
    assert panel(drawing).containers[0][0].get_ydata()[-1] == pytest.approx(0.72)
    assert [text.get_text() for text in drawing.figure.legends[0].get_texts()][-1] == "diverged"
    assert panel(drawing).get_ylim()[0] > 0.1


def test_by_makes_a_line_for_each_value_of_a_knob(records):
    mixed = [*records, *(record("custom", rate, 5, 0.4, batch_size=8) for rate in RATES)]
    drawing = draw_metric(mixed, "optimizer.lr", ["accuracy/test"], by="batch_size")
    assert [text.get_text() for text in drawing.figure.legends[0].get_texts()] == ["batch 64", "batch 8"]


def test_of_a_seed_that_was_run_again_the_newest_counts(records):
    again = record("custom", 0.01, 0, 0.9, started=100.0)
    first = panel(draw_metric([*records, again], "optimizer.lr", ["accuracy/test"])).containers[0][0]
    assert first.get_ydata()[0] == pytest.approx(np.mean([0.9, 0.52, 0.54]))


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [
        ([0.01, 0.1, 1], True),
        ([0.01, 0.03, 0.1, 0.3], True),
        ([2, 4, 8, 16, 32], True),
        ([0.1, 0.2, 0.3], False),
        ([1, 2, 3, 4, 5], False),
        ([0, 0.1, 1], False),
        ([-1, 1, 100], False),
        ([8, 64], False),
    ],
)
def test_values_chosen_by_factors_have_a_logarithmic_axis(values, logarithmic):
    assert is_logarithmic(values) == logarithmic


def test_what_cannot_be_drawn_is_told(records):
    for x, tags, said in (
        ("norm", ["accuracy/test"], "norm must have numbers to draw against"),
        ("optimizer.l", ["accuracy/test"], r"no run has this key \(did you mean optimizer.lr\?\)"),
        ("optimizer.lr", ["nll/test"], "no run that ended well has nll/test"),
    ):
        with pytest.raises(ConfigError, match=said):
            draw_metric(records, x, tags)
    drawing = draw_metric(records, "optimizer.lr", ["accuracy/test", "nll/test"])
    assert drawing.notes == ["no run that ended well has nll/test"]


def test_a_lone_run_has_no_interval_and_not_one_of_zero(records):
    lone = [record("custom", rate, 0, 0.5) for rate in RATES]
    (container,) = panel(draw_metric(lone, "optimizer.lr", ["accuracy/test"])).containers
    _, caps, (bars,) = container
    assert not any(np.isfinite(np.asarray(cap.get_ydata(), dtype=float)).any() for cap in caps)
    assert all(len(segment) == 0 for segment in bars.get_segments())
