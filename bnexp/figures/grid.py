"""Small multiples: a row of panels for each run, a column for each layer."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, Literal

from matplotlib.figure import Figure
from numpy.typing import NDArray

from bnexp.figures.shown import Shown
from bnexp.figures.style import new_figure
from bnexp.runs.layers import short

LETTERS_AN_INCH = 13
BESIDE_IN = 0.3  # what stands over and under the panels


def panels(
    runs: Sequence[Shown], layers: Sequence[str], row_in: float, *, sharey: Literal["all", "col"]
) -> tuple[Figure, NDArray[Any]]:
    """Return a figure and its panels, runs x layers, with the runs' names at the left, the layers' above."""
    names = [textwrap.wrap(run.name, int(LETTERS_AN_INCH * 1.2), break_long_words=False) for run in runs]
    row_in = max(row_in, 0.15 * max(map(len, names)))
    figure = new_figure(BESIDE_IN + row_in * len(runs))
    grid = figure.subplots(len(runs), len(layers), sharex=True, sharey=sharey, squeeze=False)
    for row, run, name in zip(grid, runs, names, strict=True):
        label = row[0].set_ylabel("\n".join(name), rotation=0, ha="right", va="center")
        label.set_color(run.look.color)
    for axes, layer in zip(grid[0], layers, strict=True):
        axes.set_title(short(layer))
    return figure, grid
