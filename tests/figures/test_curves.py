"""Curves of groups: means and bands of the seeds, and where their points stand on each axis."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from synthetic_runs import config, telling_rows, write_run

from bnexp.errors import ConfigError
from bnexp.figures import curves, loss
from bnexp.figures.curves import Column, by_epoch, by_step, by_time
from bnexp.figures.style import styled
from bnexp.figures.subjects import Subject, look
from bnexp.protocols import Measurement
from bnexp.runs.reading import read_metrics


def shown(run, index=0):
    return Subject("a run", "a run", look(index), run, read_metrics(run))


def group(runs, names, index=0):
    return loss.Arm(names[0], look(index), [shown(runs[name], index) for name in names])


def drawn(groups, *axes):
    with styled():
        return curves.draw([Column(axis, groups) for axis in axes], groups).figure


def panel(figure, row, column, columns):
    return figure.axes[row * columns + column]


def colored(axes, color):
    return [line for line in axes.lines if to_rgb(line.get_color()) == to_rgb(color)]


def test_a_line_is_the_mean_of_the_seeds_and_the_band_stays_within_them(runs):
    found = group(runs, ["custom0", "custom1", "custom2"])
    axes = panel(drawn([found], "step"), 1, 0, 1)
    values = np.stack([run.metrics["loss/val"].values for run in found.members])
    (line,) = axes.lines
    np.testing.assert_allclose(line.get_ydata(), values.mean(axis=0), rtol=1e-12, atol=0)
    mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1)
    low, high = np.maximum(mean - spread, values.min(axis=0)), np.minimum(mean + spread, values.max(axis=0))
    corners = axes.collections[0].get_paths()[0].vertices
    for step, bottom, top in zip(found.members[0].metrics["loss/val"].steps, low, high, strict=True):
        at = corners[corners[:, 0] == step, 1]
        np.testing.assert_allclose([at.min(), at.max()], [bottom, top], rtol=1e-12, atol=0)


def test_training_is_smoothed_over_a_tenth_of_the_rows(runs):
    found = group(runs, ["custom0"])
    values = found.members[0].metrics["loss/train"].values
    assert len(values) == 41
    reach = [min(2, i, len(values) - 1 - i) for i in range(len(values))]
    expected = [values[i - near : i + near + 1].mean() for i, near in enumerate(reach)]
    (line,) = panel(drawn([found], "step"), 0, 0, 1).lines
    np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-12, atol=0)


def test_a_run_that_diverged_does_not_shorten_the_mean_of_the_others(runs):
    found = group(runs, ["none0", "none1", "diverged"])
    axes = panel(drawn([found], "step"), 0, 0, 1)
    thin, mean, cross = colored(axes, look(0).color)
    assert thin.get_linewidth() < mean.get_linewidth()
    assert thin.get_xdata()[-1] == 60 and mean.get_xdata()[-1] == 400
    last_finite = 50
    assert cross.get_marker() == "X" and list(cross.get_xdata()) == [last_finite]


def test_every_axis_has_its_panels(runs):
    figure = drawn([group(runs, ["custom0"]), group(runs, ["none0"], 1)], "step", "epoch", "seconds")
    assert [axes.get_xlabel() for axes in figure.axes[-3:]] == ["step", "epoch", "seconds of training"]
    rows = [panel(figure, row, 0, 3).get_ylabel() for row in range(3)]
    assert rows == ["training loss", "validation loss", "validation accuracy"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["custom0", "none0"]


def test_runs_without_curves_are_refused(tmp_path):
    run = write_run(tmp_path / "run", {0: Measurement({"lr": 0.1})}, config=config())
    with pytest.raises(ConfigError, match="curves need rows of loss or accuracy"):
        drawn([loss.Arm("a", look(0), [shown(run)])], "step")


def test_steps_and_epochs_are_those_of_the_rows(runs):
    steps = np.asarray([0, 50, 400])
    np.testing.assert_array_equal(by_step(shown(runs["custom0"]), steps), [0, 50, 400])
    np.testing.assert_array_equal(by_epoch(shown(runs["custom0"]), steps), [0, 0.5, 4])


def test_without_rates_time_grows_with_the_examples(tmp_path):
    result = {"status": "finished", "seconds": 8.0, "examples": 400 * 64}
    run = write_run(tmp_path / "run", telling_rows("none"), config=config(), result=result)
    found = by_time(shown(run), np.asarray([0, 100, 400]))
    np.testing.assert_allclose(found, [0, 2, 8], rtol=1e-12, atol=0)


def test_time_follows_the_rates_to_the_seconds_of_the_run(tmp_path):
    """64 examples a second for 10 steps of 64 examples, then 640: 1 s a step, then 0.1 s."""
    rates = {0: 64.0, 10: 64.0, 20: 640.0}
    rows = {step: Measurement({"loss/val": 1.0, "examples_per_second": rate}) for step, rate in rates.items()}
    rows[25] = Measurement({"loss/val": 1.0})
    result = {"status": "finished", "seconds": 12.5, "examples": 25 * 64}
    run = write_run(tmp_path / "run", rows, config=config(), result=result)
    found = by_time(shown(run), np.asarray([0, 10, 20, 25]))
    # Rates are read one step on: 11 steps of 1 s, 10 of 0.1 s, and 4 more until the end.
    np.testing.assert_allclose(found, [0, 10, 11.9, 12.5], rtol=1e-12, atol=0)
