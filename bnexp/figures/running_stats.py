"""Running statistics over the steps, and how far they lie from those of the current batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bnexp.analysis.layers import choose, layers
from bnexp.figures.style import WIDTH_IN, keep_bulk, legend_above, new_figure
from bnexp.figures.subjects import Drawing, Subject, line_of, those_with
from bnexp.models.part_names import unit_of

PREFIX = "running_gap/"
NEEDS = "running statistics: telemetry=default or full, and a norm that has them (norm=custom or builtin)"
MOST_LAYERS = 4
ROWS = (
    "running mean",
    "running variance",
    "gap of means\n(batch std)",
    "gap of variances\n(|ln ratio|)",
)
MOST_RUNS_WITH_CHANNELS = 1


def draw(runs: Sequence[Subject], patterns: Sequence[str]) -> Drawing:
    """Draw a column for each layer: the running mean and variance over channels, and below them their gaps.

    The line is the mean over channels, the band reaches from the least to the greatest, thin lines are the
    traced channels (of a run alone). The gaps to the batch about to be used are means over channels of
    |running mean - batch mean| / batch std and of |ln(running variance / batch variance)|.

    Raises:
        ConfigError: no run logged any.
    """
    tags = {run.name: [tag for tag in run.metrics if tag.startswith(PREFIX)] for run in runs}
    runs, notes = those_with(runs, tags, "running_stats", NEEDS)
    chosen = choose([layers(tags[run.name], PREFIX) for run in runs], patterns, MOST_LAYERS)
    traced = len(runs) <= MOST_RUNS_WITH_CHANNELS
    figure = new_figure(5.3, max(WIDTH_IN, 1.5 * len(chosen.names)))
    grid = figure.subplots(len(ROWS), len(chosen.names), sharex=True, squeeze=False)
    for column, layer in zip(grid.T, chosen.names, strict=True):
        for run in runs:
            _draw_buffer(column[0], run, f"running_mean/{layer}", traced)
            _draw_buffer(column[1], run, f"running_var/{layer}", traced)
            _draw_gap(column[2], run, f"{PREFIX}{layer}/mean")
            _draw_gap(column[3], run, f"{PREFIX}{layer}/var")
        for axes in column[:2]:
            keep_bulk(axes)
        column[0].set_title(unit_of(layer))
        column[-1].set_xlabel("step")
    for row, title in zip(grid, ROWS, strict=True):
        row[0].set_ylabel(title)
    for row in grid[2:]:
        _share_logarithmic(row)
    keys: dict[str, Artist] = {
        "mean over channels": Line2D([], [], color="black", lw=1.4),
        "least to greatest": Patch(color="black", alpha=0.15, lw=0),
        "single channels": Line2D([], [], color="black", lw=0.6),
    }
    if not traced:
        del keys["single channels"]
    legend_above(figure, [*map(line_of, runs), *keys.values()], [*(run.name for run in runs), *keys])
    figure.align_ylabels()
    return Drawing(figure, notes + chosen.notes)


def _draw_buffer(axes: Axes, run: Subject, tag: str, channels: bool) -> None:
    mean, low, high = (run.curve(f"{tag}/{part}") for part in ("mean", "min", "max"))
    if mean is None or low is None or high is None:
        return
    color = run.look.color
    axes.fill_between(low.steps, low.values, high.values, color=color, alpha=0.15, lw=0)
    traced = [name for name in run.metrics if name.startswith(f"{tag}/channel_")]
    for name in traced if channels else []:
        if (channel := run.curve(name)) is not None:
            axes.plot(channel.steps, channel.values, color=color, lw=0.6)
    axes.plot(mean.steps, mean.values, color=color, ls=run.look.line, lw=1.4)


def _draw_gap(axes: Axes, run: Subject, tag: str) -> None:
    gap = run.curve(tag)
    if gap is not None:
        axes.plot(gap.steps, gap.values, color=run.look.color, ls=run.look.line, lw=0.9)


def _share_logarithmic(row: Sequence[Axes]) -> None:
    """Give a row one logarithmic axis, on which exponential decay is a straight line."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for axes in row for line in axes.lines])
    values = values[np.isfinite(values) & (values > 0)]
    if values.size:
        for axes in row:
            axes.set_yscale("log", nonpositive="mask")
            axes.set_ylim(values.min() / 1.5, values.max() * 1.5)
