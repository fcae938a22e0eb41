"""Three percentiles of what enters and leaves each norm: all runs in each panel, or run under run."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bnexp.analysis.layers import choose, layers
from bnexp.figures.curves import by_epoch
from bnexp.figures.style import PALETTE, keep_bulk, legend_above, new_figure
from bnexp.figures.subjects import Drawing, Subject, line_of, panels, those_with
from bnexp.models.part_names import unit_of

PREFIX = "percentile/"
NEEDS = "percentile scalars: telemetry=default or full"
PLACES = {"in": "before the norm", "out": "after the norm"}
PLACE_LOOKS = {"in": (PALETTE[1], (0, (4, 1.5))), "out": (PALETTE[0], "-")}
MOST_LAYERS = 6
GRID_LAYERS = 4
ROW_IN = 0.85


def draw(runs: Sequence[Subject], patterns: Sequence[str]) -> Drawing:
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


def draw_grid(runs: Sequence[Subject], patterns: Sequence[str]) -> Drawing:
    """Draw the percentiles of `draw` over the epochs, a row for each run; a column shares its axis.

    Raises:
        ConfigError: no run logged any.
    """
    tags = {run.name: [tag for tag in run.metrics if tag.startswith(PREFIX)] for run in runs}
    runs, notes = those_with(runs, tags, "percentiles", NEEDS)
    chosen = choose([layers(tags[run.name], PREFIX) for run in runs], patterns, GRID_LAYERS)
    figure, grid = panels(runs, chosen.names, ROW_IN, sharey="col")
    for row, run in zip(grid, runs, strict=True):
        for axes, layer in zip(row, chosen.names, strict=True):
            for place, (color, line) in PLACE_LOOKS.items():
                _draw_place(axes, run, f"{PREFIX}{layer}/{place}", color, line)
    for column in grid.T:
        keep_bulk(*column)
        column[-1].set(xlabel="epoch", xlim=(0, None))
    keys: dict[str, Artist] = {
        PLACES[place]: Line2D([], [], color=color, ls=line, lw=1.4)
        for place, (color, line) in PLACE_LOOKS.items()
    }
    keys["15th to 85th percentile"] = Patch(color="black", alpha=0.15, lw=0)
    legend_above(figure, list(keys.values()), list(keys))
    return Drawing(figure, notes + chosen.notes)


def _draw_run(axes: Axes, run: Subject, tag: str) -> None:
    low, middle, high = (run.curve(f"{tag}/{share}") for share in (15, 50, 85))
    if low is None or middle is None or high is None:
        return
    color = run.look.color
    axes.fill_between(low.steps, low.values, high.values, color=color, alpha=0.15, lw=0)
    for edge in (low, high):
        axes.plot(edge.steps, edge.values, color=color, ls=run.look.line, lw=0.7)
    axes.plot(middle.steps, middle.values, color=color, ls=run.look.line, lw=1.4)


def _draw_place(axes: Axes, run: Subject, tag: str, color: str, line: object) -> None:
    low, middle, high = (run.curve(f"{tag}/{share}") for share in (15, 50, 85))
    if low is None or middle is None or high is None:
        return
    epochs = by_epoch(run, middle.steps)
    axes.fill_between(epochs, low.values, high.values, color=color, alpha=0.18, lw=0)
    for edge in (low, high):
        axes.plot(epochs, edge.values, color=color, ls=line, lw=0.5)
    axes.plot(epochs, middle.values, color=color, ls=line, lw=1.4)
    if len(epochs) == 1:
        axes.errorbar(
            epochs,
            middle.values,
            [middle.values - low.values, high.values - middle.values],
            fmt="o",
            color=color,
        )
