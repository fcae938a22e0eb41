"""The lines of each figure are the numbers of the runs."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from synthetic_runs import (
    LAYERS,
    LIMITS,
    SMALL_LIMITS,
    config,
    distribution_of,
    histogram,
    telling_rows,
    write_run,
)

from bnexp.errors import ConfigError
from bnexp.figures import activations, gradients, loss, percentiles, running_stats
from bnexp.figures.style import PALETTE, styled
from bnexp.figures.subjects import look, subjects
from bnexp.runs.reading import read_metrics


def drawn(module, runs, names, patterns=()):
    with styled():
        return module.draw(subjects([runs[name] for name in names]), patterns)


def assert_line(line, series):
    np.testing.assert_array_equal(line.get_xdata(), series.steps)
    np.testing.assert_array_equal(line.get_ydata(), series.values)


def colored(axes, color):
    return [line for line in axes.lines if to_rgb(line.get_color()) == to_rgb(color)]


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


# loss


def test_loss_shows_what_was_logged_and_validation(runs):
    drawing = drawn(loss, runs, ["custom0", "none0"])
    metrics = [read_metrics(runs[name]) for name in ("custom0", "none0")]
    for axes, quantity in zip(drawing.figure.axes, ("loss", "accuracy"), strict=True):
        for found, color in zip(metrics, PALETTE, strict=False):
            training, validation = colored(axes, color)
            np.testing.assert_array_equal(training.get_xdata(), found[f"{quantity}/train"].steps)
            assert_line(validation, found[f"{quantity}/val"])
        assert axes.get_xlabel() == "step"
    assert [axes.get_ylabel() for axes in drawing.figure.axes] == ["loss", "accuracy"]
    assert legend_of(drawing.figure) == ["batch norm (ours)", "no norm", "training", "validation"]


def test_many_rows_are_drawn_raw_and_smoothed(tmp_path):
    run = write_run(tmp_path / "long", telling_rows("custom", steps=3000, layers=()), config=config())
    raw, smooth, _ = drawn(loss, {"long": run}, ["long"]).figure.axes[0].lines
    series = read_metrics(run)["loss/train"]
    assert_line(raw, series)
    assert raw.get_linewidth() < smooth.get_linewidth() and raw.get_alpha() < 1
    width = 13  # 301 rows / 25, made odd
    reach = [min(6, i, len(series) - 1 - i) for i in range(len(series))]  # a curve starts where training did
    expected = [series.values[i - near : i + near + 1].mean() for i, near in enumerate(reach)]
    assert width == 2 * (len(series) // 50) + 1
    np.testing.assert_allclose(smooth.get_ydata(), expected, rtol=1e-12, atol=0)


def test_seeds_become_their_mean_and_a_band_of_one_standard_deviation(runs):
    names = ["custom0", "none0", "custom1", "none1", "custom2", "none2"]
    drawing = drawn(loss, runs, names)
    axes = drawing.figure.axes[0]
    values = np.stack([read_metrics(runs[f"custom{seed}"])["loss/val"].values for seed in range(3)])
    mean, spread = values.mean(0), values.std(0, ddof=1)
    np.testing.assert_allclose(colored(axes, PALETTE[0])[1].get_ydata(), mean, rtol=1e-12, atol=0)
    band = axes.collections[1].get_paths()[0].vertices
    for step, low, high in zip(range(0, 401, 50), mean - spread, mean + spread, strict=True):
        at_step = band[band[:, 0] == step, 1]
        assert (at_step.min(), at_step.max()) == pytest.approx((low, high), rel=1e-9)
    assert legend_of(drawing.figure)[:2] == ["batch norm (ours) (3 seeds)", "no norm (3 seeds)"]
    assert any("standard deviation" in note for note in drawing.notes)


def test_a_diverged_run_ends_in_a_cross_within_the_panel(runs):
    axes = drawn(loss, runs, ["diverged", "custom0"]).figure.axes[0]
    (cross,) = [line for line in axes.lines if line.get_marker() == "X"]
    low, high = axes.get_ylim()
    assert cross.get_xdata() == [50] and cross.get_ydata() == [high]
    assert high < 20 and low > 0.01


def test_only_loss_of_decades_is_logarithmic(runs):
    assert drawn(loss, runs, ["custom0"]).figure.axes[0].get_yscale() == "log"
    assert drawn(loss, runs, ["none0"]).figure.axes[0].get_yscale() == "linear"
    assert drawn(loss, runs, ["custom0"]).figure.axes[1].get_yscale() == "linear"


def test_smoothing_skips_what_is_not_finite():
    values = np.asarray([1.0, np.nan, 4.0, 7.0])
    np.testing.assert_allclose(loss.smoothed(values, 3), [1, np.nan, 5.5, 7], rtol=1e-12, atol=0)


# activations


def test_ridges_of_a_layer_share_their_axis_across_runs_and_steps_across_all(runs):
    figure = drawn(activations, runs, ["custom0", "diverged"]).figure
    grid = np.reshape(figure.axes, (len(LAYERS), 3))  # without a norm both places are one
    for row in grid:
        assert row[0].get_xlim() == row[1].get_xlim()
        assert {axes.get_ylim() for axes in row} == {grid[0, 0].get_ylim()}
    assert [axes.get_title() for axes in grid[0]] == [
        "batch norm (ours), lr 0.05\nbefore",
        "no norm, lr 9.0",
        "batch norm (ours), lr 0.05\nafter",
    ]
    assert [row[0].get_ylabel() for row in grid] == [f"{layer}\nstep" for layer in LAYERS]


def test_a_ridge_stands_on_its_step_with_its_peak_at_the_mode(runs):
    axes = drawn(activations, runs, ["custom0"], ["conv1"]).figure.axes[1]
    ridges = colored(axes, PALETTE[0])
    baselines = [ridge.get_ydata().min() for ridge in ridges]
    assert baselines == pytest.approx(range(0, 401, 50), abs=5)
    heights = [np.ptp(ridge.get_ydata()) for ridge in ridges]
    assert heights == pytest.approx([1.7 * 50] * 9, rel=0.05)
    for ridge in ridges:
        assert abs(ridge.get_xdata()[ridge.get_ydata().argmax()]) < 0.5
    assert [ridge.get_zorder() for ridge in ridges] == sorted((r.get_zorder() for r in ridges), reverse=True)


def test_outliers_do_not_empty_the_picture(runs):
    low, high = drawn(activations, runs, ["custom0"], ["conv1"]).figure.axes[0].get_xlim()
    assert low == -high and 2 < high < 8


def test_ridges_thin_out_evenly():
    steps = [(step, None) for step in range(0, 2100, 100)]
    assert [step for step, _ in activations.spread_out(steps, 10)] == list(range(0, 2100, 300))
    assert activations.spread_out(steps[:3], 10) == steps[:3]


def test_more_runs_than_fit_are_refused(runs):
    with pytest.raises(ConfigError, match="at most 4 runs side by side, got 5"):
        drawn(activations, runs, ["custom0", "custom1", "custom2", "none0", "none1"])


# gradients


def test_gradients_are_those_of_step_0_on_shared_axes(runs):
    drawing = drawn(gradients, runs, ["custom0", "none0"])
    grid = np.reshape(drawing.figure.axes, (len(LAYERS), 2))
    for column in grid.T:
        assert len({axes.get_xlim() for axes in column}) == len({axes.get_ylim() for axes in column}) == 1
    assert grid[0, 0].get_xscale() == "log" and grid[0, 1].get_yscale() == "log"
    assert [row[0].get_ylabel() for row in grid] == list(LAYERS)
    assert legend_of(drawing.figure) == ["batch norm (ours)", "no norm", "Gaussian"]
    assert drawing.notes == []


def test_magnitudes_are_shares_per_decade():
    values = np.random.default_rng(0).standard_normal(5000) * 1e-3
    found = distribution_of(values, SMALL_LIMITS)
    edges, density = gradients.magnitudes(found)
    inside = [np.mean((abs(values) > low) & (abs(values) <= high)) for low, high in itertools.pairwise(edges)]
    np.testing.assert_allclose(density * np.diff(np.log10(edges)), inside, rtol=0, atol=2e-3)
    assert edges[-1] == abs(values).max()


def test_gradients_that_are_all_equal_or_zero_are_drawn(tmp_path):
    rows = telling_rows("custom", steps=10)
    rows[0].histograms |= {
        "gradient/conv1.linear.weight": histogram([0.0] * 20, SMALL_LIMITS),
        "gradient/dense1.linear.weight": histogram([-0.5] * 20, SMALL_LIMITS),
    }
    run = write_run(tmp_path / "equal", rows, config=config())
    left = drawn(gradients, {"equal": run}, ["equal"]).figure.axes[::2]
    assert len(left[0].lines[0].get_xdata()) == 0
    edges, density = left[1].lines[0].get_data()
    assert edges[-1] == 0.5 and density[0] * np.log10(edges[1] / edges[0]) == pytest.approx(1, rel=1e-12)


def test_scaled_densities_do_not_change_with_the_unit():
    values = np.random.default_rng(0).standard_normal(5000)
    (edges, density), (small_edges, small_density) = (
        gradients.scaled(distribution_of(scale * values, np.asarray(LIMITS) * scale)) for scale in (1, 1e-5)
    )
    np.testing.assert_allclose(small_edges, edges, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(small_density, density, rtol=1e-9, atol=0)
    assert (density * np.diff(edges)).sum() == pytest.approx(1, rel=1e-12)


def test_weights_of_norms_are_drawn_where_a_pattern_names_them(runs):
    figure = drawn(gradients, runs, ["custom0"], ["conv1.norm"]).figure
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == ["conv1.norm.weight"]


def test_gradients_of_a_later_step_are_not_passed_off_as_initial(tmp_path):
    rows = telling_rows("custom", steps=10)
    late = {10: rows[10]}
    late[10].histograms = rows[0].histograms
    run = write_run(tmp_path / "late", late, config=config())
    assert drawn(gradients, {"late": run}, ["late"]).notes == [
        "these gradients are the first recorded, of step 10, not of initialization"
    ]


# running statistics


def test_running_statistics_are_drawn_as_logged(runs):
    figure = drawn(running_stats, runs, ["custom0"]).figure
    metrics = read_metrics(runs["custom0"])
    grid = np.reshape(figure.axes, (4, len(LAYERS)))
    for column, layer in zip(grid.T, LAYERS, strict=True):
        assert column[0].get_title() == layer
        for axes, buffer in zip(column[:2], ("running_mean", "running_var"), strict=True):
            *channels, mean = axes.lines
            assert_line(mean, metrics[f"{buffer}/{layer}.norm/mean"])
            for index, channel in enumerate(channels):
                assert_line(channel, metrics[f"{buffer}/{layer}.norm/channel_{index}"])
            assert len(channels) == 3
            band = axes.collections[0].get_paths()[0].vertices
            assert band[:, 1].max() == metrics[f"{buffer}/{layer}.norm/max"].values.max()
            assert band[:, 1].min() == metrics[f"{buffer}/{layer}.norm/min"].values.min()
        assert_line(column[2].lines[0], metrics[f"running_gap/{layer}.norm/mean"])
        assert_line(column[3].lines[0], metrics[f"running_gap/{layer}.norm/var"])
    for row in grid[2:]:
        assert len({axes.get_ylim() for axes in row}) == 1 and row[0].get_yscale() == "log"
    assert "gap of means" in grid[2, 0].get_ylabel() and "batch std" in grid[2, 0].get_ylabel()


def test_a_run_without_running_statistics_is_left_out_and_named(runs):
    drawing = drawn(running_stats, runs, ["custom0", "none0"])
    assert legend_of(drawing.figure)[0] == "batch norm (ours)" and "no norm" not in legend_of(drawing.figure)
    assert len(drawing.notes) == 1 and drawing.notes[0].startswith(
        'run "no norm" left out: running_stats needs'
    )


# percentiles


def test_percentiles_are_drawn_as_logged(runs):
    drawing = drawn(percentiles, runs, ["custom0", "none0"])
    grid = np.reshape(drawing.figure.axes, (len(LAYERS), 2))
    for name, color in zip(("custom0", "none0"), PALETTE, strict=False):
        metrics = read_metrics(runs[name])
        for row, layer in zip(grid, LAYERS, strict=True):
            for axes, place in zip(row, ("in", "out"), strict=True):
                low, high, middle = colored(axes, color)
                for line, share in ((low, 15), (middle, 50), (high, 85)):
                    assert_line(line, metrics[f"percentile/{layer}.norm/{place}/{share}"])
                assert middle.get_linewidth() > low.get_linewidth()
    assert [axes.get_title() for axes in grid[0]] == ["before the norm", "after the norm"]


def test_an_explosion_leaves_the_panel_and_not_the_others_flat(runs):
    axes = drawn(percentiles, runs, ["diverged", "custom0"]).figure.axes[0]
    low, high = axes.get_ylim()
    assert -10 < low < 0 < high < 10
    assert max(line.get_ydata().max() for line in axes.lines) == 1e9


def test_long_curves_are_thinned_to_rows_that_were_logged(tmp_path):
    run = write_run(tmp_path / "long", telling_rows("custom", steps=4500, layers=["a"]), config=config())
    line = drawn(percentiles, {"long": run}, ["long"]).figure.axes[0].lines[0]
    series = read_metrics(run)["percentile/a.norm/in/15"]
    np.testing.assert_array_equal(line.get_xdata(), series.steps[::3])
    np.testing.assert_array_equal(line.get_ydata(), series.values[::3])


# all of them


@pytest.mark.parametrize(
    "module, at_most", [(activations, 6), (gradients, 6), (percentiles, 6), (running_stats, 4)]
)
def test_a_deep_network_is_thinned_out_and_says_so(module, at_most, tmp_path):
    deep = [f"stage{index}.conv" for index in range(19)]
    run = write_run(tmp_path / "deep", telling_rows("custom", steps=50, layers=deep), config=config())
    drawing = drawn(module, {"deep": run}, ["deep"])
    assert drawing.notes == [
        f"{at_most} of 19 layers are shown, evenly spaced; --layers PATTERN shows others"
    ]
    texts = {axes.get_ylabel().split("\n")[0] for axes in drawing.figure.axes}
    texts |= {axes.get_title() for axes in drawing.figure.axes}
    assert {deep[0], deep[-1]} <= texts and len(texts & set(deep)) == at_most


@pytest.mark.parametrize("module", [activations, gradients, percentiles, running_stats])
def test_a_run_without_the_numbers_says_which_telemetry_gives_them(module, runs):
    with pytest.raises(ConfigError, match="telemetry=default or full") as error:
        drawn(module, runs, ["quiet"])
    assert "\n" not in str(error.value) and "no norm" in str(error.value)


def test_the_first_seven_runs_differ_in_colour_and_neighbours_in_line():
    assert len({look(index).color for index in range(7)}) == 7
    assert look(7).color == look(0).color and look(7).line != look(0).line
    assert all(look(index).line != look(index + 1).line for index in range(6))
