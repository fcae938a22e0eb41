"""Three percentiles of what enters and leaves each norm, run under run."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bnexp.analysis.layers import choose, layers
from bnexp.figures.curves import by_epoch
from bnexp.figures.grid import panels
from bnexp.figures.percentiles import NEEDS, PREFIX
from bnexp.figures.style import PALETTE, keep_bulk, legend_above
from bnexp.figures.subjects import Drawing, Shown, those_with

MOST_LAYERS = 4
ROW_IN = 0.85
PLACES = {"in": ("before the norm", PALETTE[1], (0, (4, 1.5))), "out": ("after the norm", PALETTE[0], "-")}


def draw(runs: Sequence[Shown], patterns: Sequence[str]) -> Drawing:
    """Draw the 15th, 50th and 85th percentile over the epochs; the panels of a column share their axis.

    Raises:
        ConfigError: no run logged any.
    Source: Ioffe & Szegedy 2015, arXiv:1502.03167, Fig. 1b and 1c, for one unit; here for all of a layer.
    """
    tags = {run.name: [tag for tag in run.metrics if tag.startswith(PREFIX)] for run in runs}
    runs, notes = those_with(runs, tags, "percentiles", NEEDS)
    chosen = choose([layers(tags[run.name], PREFIX) for run in runs], patterns, MOST_LAYERS)
    figure, grid = panels(runs, chosen.names, ROW_IN, sharey="col")
    for row, run in zip(grid, runs, strict=True):
        for axes, layer in zip(row, chosen.names, strict=True):
            for place, (_, color, line) in PLACES.items():
                _draw_place(axes, run, f"{PREFIX}{layer}/{place}", color, line)
    for column in grid.T:
        keep_bulk(*column)
        column[-1].set(xlabel="epoch", xlim=(0, None))
    keys: dict[str, Artist] = {
        name: Line2D([], [], color=color, ls=line, lw=1.4) for name, color, line in PLACES.values()
    }
    keys["15th to 85th percentile"] = Patch(color="black", alpha=0.15, lw=0)
    legend_above(figure, list(keys.values()), list(keys))
    return Drawing(figure, notes + chosen.notes)


def _draw_place(axes: Axes, run: Shown, tag: str, color: str, line: object) -> None:
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
