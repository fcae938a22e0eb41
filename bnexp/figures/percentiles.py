"""Three percentiles of what enters and leaves each norm, over the steps."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bnexp.analysis.layers import choose, layers
from bnexp.figures.style import keep_bulk, legend_above, new_figure
from bnexp.figures.subjects import Drawing, Shown, line_of, those_with
from bnexp.models.part_names import unit_of

PREFIX = "percentile/"
NEEDS = "percentile scalars: telemetry=default or full"
PLACES = {"in": "before the norm", "out": "after the norm"}
MOST_LAYERS = 6


def draw(runs: Sequence[Shown], patterns: Sequence[str]) -> Drawing:
    """Draw the 15th, 50th and 85th percentile, a row for each layer, all runs in each panel.

    Each panel has a vertical axis of its own: a norm changes the scale.

    Raises:
        ConfigError: no run logged any.
    Source: Ioffe & Szegedy 2015, arXiv:1502.03167, Fig. 1b and 1c, which show one unit; these percentiles
        are over all units of a layer.
    """
    tags = {run.name: [tag for tag in run.metrics if tag.startswith(PREFIX)] for run in runs}
    runs, notes = those_with(runs, tags, "percentiles", NEEDS)
    chosen = choose([layers(tags[run.name], PREFIX) for run in runs], patterns, MOST_LAYERS)
    figure = new_figure(0.5 + 1.15 * len(chosen.names))
    grid = figure.subplots(len(chosen.names), len(PLACES), sharex=True, squeeze=False)
    for row, layer in zip(grid, chosen.names, strict=True):
        for axes, place in zip(row, PLACES, strict=True):
            for run in runs:
                _draw_run(axes, run, f"{PREFIX}{layer}/{place}")
            keep_bulk(axes)
        row[0].set_ylabel(f"{unit_of(layer)}\nvalue")
    for axes, title in zip(grid[0], PLACES.values(), strict=True):
        axes.set_title(title)
    for axes in grid[-1]:
        axes.set_xlabel("step")
    keys: dict[str, Artist] = {
        "median": Line2D([], [], color="black", lw=1.4),
        "15th and 85th percentile": Line2D([], [], color="black", lw=0.7),
    }
    legend_above(figure, [*map(line_of, runs), *keys.values()], [*(run.name for run in runs), *keys])
    figure.align_ylabels()
    return Drawing(figure, notes + chosen.notes)


def _draw_run(axes: Axes, run: Shown, tag: str) -> None:
    low, middle, high = (run.curve(f"{tag}/{share}") for share in (15, 50, 85))
    if low is None or middle is None or high is None:
        return
    color = run.look.color
    axes.fill_between(low.steps, low.values, high.values, color=color, alpha=0.15, lw=0)
    for edge in (low, high):
        axes.plot(edge.steps, edge.values, color=color, ls=run.look.line, lw=0.7)
    axes.plot(middle.steps, middle.values, color=color, ls=run.look.line, lw=1.4)
