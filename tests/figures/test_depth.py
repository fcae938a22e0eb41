"""Against depth: each line holds the numbers that TensorBoard's own reader finds in a run's files."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_runs import LAYERS, OURS
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bnexp.errors import ConfigError
from bnexp.figures import depth
from bnexp.figures.style import styled
from bnexp.figures.subjects import subjects
from bnexp.runs.reading import read_metrics


def drawn(runs, names, patterns=()):
    with styled():
        return depth.draw(subjects([runs[name] for name in names]), patterns)


def moments(run, tag, step):
    """Return mean and standard deviation of a histogram from its own sums."""
    events = EventAccumulator(str(run.path), {"histograms": 0}).Reload().Histograms(tag)
    (found,) = [event.histogram_value for event in events if event.step == step]
    mean = found.sum / found.num
    return mean, np.sqrt(found.sum_squares / found.num - mean**2)


def test_each_row_holds_the_numbers_of_the_first_and_the_last_step(runs):
    figure = drawn(runs, ["custom0", "none0"]).figure
    grid = np.reshape(figure.axes, (3, 2))
    assert [axes.get_title() for axes in grid[0]] == ["step 0", "last step"]
    for column, step in enumerate((0, 400)):
        for line, name in zip(grid[0, column].lines, ("custom0", "none0"), strict=True):
            wanted = [moments(runs[name], f"activation/{layer}.norm/in", step)[1] for layer in LAYERS]
            np.testing.assert_allclose(line.get_ydata(), wanted, rtol=1e-5)
            assert line.get_xdata().tolist() == list(range(1, len(LAYERS) + 1))
    for line, name in zip(grid[1, 0].lines, ("custom0", "none0"), strict=True):
        pairs = [moments(runs[name], f"gradient/{layer}.linear.weight", 0) for layer in LAYERS]
        np.testing.assert_allclose(line.get_ydata(), [np.hypot(*pair) for pair in pairs], rtol=1e-5)


def test_the_gap_is_drawn_for_runs_that_have_one(runs):
    grid = np.reshape(drawn(runs, ["custom0", "none0"]).figure.axes, (3, 2))
    (line,) = grid[2, 1].lines
    metrics = read_metrics(runs["custom0"])
    wanted = [metrics[f"running_gap/{layer}.norm/var"].values[-1] for layer in LAYERS]
    np.testing.assert_array_equal(line.get_ydata(), wanted)
    names = [text.get_text() for text in drawn(runs, ["custom0", "none0"]).figure.legends[0].get_texts()]
    assert names == [OURS, "no norm"]


def test_without_running_statistics_there_are_two_rows(runs):
    assert len(drawn(runs, ["none0"]).figure.axes) == 4


def test_patterns_choose_layers_and_a_run_without_histograms_is_left_out(runs):
    drawing = drawn(runs, ["custom0", "quiet"], [LAYERS[0]])
    assert [len(line.get_xdata()) for line in drawing.figure.axes[0].lines] == [1]
    (note,) = drawing.notes
    assert "left out: depth needs histograms" in note
    with pytest.raises(ConfigError, match="depth needs histograms"):
        drawn(runs, ["quiet"])
