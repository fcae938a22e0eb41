"""The heat map, the costs and the small multiples: numbers, looks and limits of what they draw."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from synthetic_runs import LAYERS, config

from bnexp.analysis.groups import grouped
from bnexp.analysis.records import Record
from bnexp.analysis.statistics import estimate
from bnexp.analysis.variation import Crossed, Crossing, Knob
from bnexp.errors import ConfigError
from bnexp.figures import gradients, percentiles, summaries
from bnexp.figures.gradients import magnitude_quantile
from bnexp.figures.style import styled, svg
from bnexp.figures.subjects import look, subjects
from bnexp.runs.directory import RunDirectory
from bnexp.runs.reading import read_metrics


def crossed(means, tag="accuracy/test", diverged=0):
    cells = [
        [Crossing(2, diverged, None if mean is None else estimate([mean])) for mean in row] for row in means
    ]
    return Crossed(Knob("choices.norm", ("custom", "none")), Knob("batch_size", (8, 64, 512)), tag, cells)


def map_of(found):
    with styled():
        return summaries.draw_maps([found]).figure.axes[0]


def test_numbers_stand_in_the_cells_that_have_them():
    axes = map_of(crossed([[0.1, 0.25, None], [0.5, 0.75, 1.0]]))
    found = {text.get_position(): text.get_text() for text in axes.texts}
    assert [found[column, 0] for column in range(3)] == ["0.1000", "0.2500", "–"]
    assert [found[column, 1] for column in range(3)] == ["0.5000", "0.7500", "1.0000"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["batch norm\n(ours)", "no norm"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["8", "64", "512"]


@pytest.mark.parametrize(("tag", "best"), [("accuracy/test", 1.0), ("loss/test", 0.1)])
def test_better_is_brighter_and_letters_can_be_read(tag, best):
    means = [[0.1, 0.25, 0.4], [0.5, 0.75, 1.0]]
    axes = map_of(crossed(means, tag))
    (mesh,) = axes.collections
    mesh.update_scalarmappable()
    luminance = dict(
        zip(np.ravel(means), mesh.get_facecolors()[:, :3] @ [0.2126, 0.7152, 0.0722], strict=True)
    )
    assert max(luminance, key=luminance.get) == best
    for text in axes.texts:
        light = to_rgb(text.get_color())[0] > 0.5
        assert (
            (luminance[float(text.get_text())] < 0.55) if light else (luminance[float(text.get_text())] > 0.3)
        )


def test_runs_that_diverged_are_counted_in_their_cell():
    axes = map_of(crossed([[None, 0.2, 0.2], [0.2, 0.2, 0.2]], diverged=1))
    assert axes.texts[0].get_text() == "–\n1 diverged"


def record(tmp_path, norm, seed, **result):
    return Record(RunDirectory(tmp_path), "finished", 0.0, config(norm, seed=seed), result)


def test_costs_are_each_run_their_mean_and_its_interval(tmp_path):
    seconds = {"custom": (1.0, 2.0, 6.0), "none": (1.0,)}
    records = [
        record(tmp_path, norm, seed, seconds=value, step=1000, peak_memory_bytes=2**21)
        for norm, values in seconds.items()
        for seed, value in enumerate(values)
    ]
    groups = grouped(records)
    with styled():
        time, memory = summaries.draw_costs(groups, [look(0), look(1)]).figure.axes
    ticks, interval, mean = time.lines[:3]
    assert list(ticks.get_xdata()) == [1.0, 2.0, 6.0] and mean.get_xdata() == [3.0]
    half = groups[0].estimate("step_time_ms").half_width
    np.testing.assert_allclose(interval.get_xdata(), [max(0, 3 - half), 3 + half], rtol=1e-12, atol=0)
    assert len(time.lines) == 5, "one run has no interval"
    assert time.get_xlim()[0] == 0 and 6 < time.get_xlim()[1] < 12
    assert [list(line.get_xdata()) for line in memory.lines[-1:]] == [[2.0]]
    assert [label.get_text() for label in time.get_yticklabels()] == ["batch norm (ours)", "no norm"]


def test_runs_that_took_no_step_have_no_cost(tmp_path):
    groups = grouped([record(tmp_path, "custom", 0, seconds=0.0, step=0)])
    with pytest.raises(ConfigError, match="costs need runs that took a step"):
        summaries.draw_costs(groups, [look(0)])


def rows_of(figure, columns):
    return np.asarray(figure.axes).reshape(-1, columns)


def test_percentiles_stand_run_under_run(runs):
    with styled():
        figure = percentiles.draw_grid(subjects([runs["custom0"], runs["none0"]]), ()).figure
    grid = rows_of(figure, len(LAYERS))
    assert grid.shape == (2, 2) and [axes.get_title() for axes in grid[0]] == list(LAYERS)
    metrics = read_metrics(runs["custom0"])
    lines = {place: grid[0, 0].lines[3 * index : 3 * index + 3] for index, place in enumerate(("in", "out"))}
    for place, (low, high, middle) in lines.items():
        for line, share in ((low, 15), (high, 85), (middle, 50)):
            series = metrics[f"percentile/conv1.norm/{place}/{share}"]
            np.testing.assert_array_equal(line.get_ydata(), series.values)
            np.testing.assert_array_equal(line.get_xdata(), series.steps / 100)
    assert grid[0, 0].get_ylim() == grid[1, 0].get_ylim()


def test_gradients_stand_run_under_run_with_their_medians(runs):
    chosen = subjects([runs["custom0"], runs["none0"]])
    with styled():
        figure = gradients.draw_grid(chosen, ()).figure
    grid = rows_of(figure, len(LAYERS))
    assert grid.shape == (2, 2) and len({axes.get_xlim() for axes in figure.axes}) == 1
    for row, run in zip(grid, chosen, strict=True):
        for axes, layer in zip(row, LAYERS, strict=True):
            ((step, found),) = run.histograms("gradient/")[f"gradient/{layer}.linear.weight"]
            assert step == 0 and axes.lines[0].get_xdata()[0] == magnitude_quantile(found, 0.5)


def test_svg_text_is_the_same_each_time(runs):
    with styled():
        texts = [svg(gradients.draw_grid(subjects([runs["custom0"]]), ()).figure) for _ in range(2)]
    assert texts[0] == texts[1] and "<image" not in texts[0]
