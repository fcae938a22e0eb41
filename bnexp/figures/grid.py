"""Small multiples: a row of panels for each run, a column for each layer."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, Literal

from matplotlib.figure import Figure
from numpy.typing import NDArray

from bnexp.figures.style import darker, new_figure
from bnexp.figures.subjects import Shown
from bnexp.models.part_names import unit_of

LETTERS = 15  # of a line of a run's name
LINE_IN = 0.16
BESIDE_IN = 0.3  # what stands over and under the panels


def panels(
    runs: Sequence[Shown], layers: Sequence[str], row_in: float, *, sharey: Literal["all", "col"]
) -> tuple[Figure, NDArray[Any]]:
    """Return a figure and its panels, runs x layers, with the runs' names at the left, the layers' above."""
    names = [_lines(run.name) for run in runs]
    row_in = max(row_in, LINE_IN * max(map(len, names)))
    figure = new_figure(BESIDE_IN + row_in * len(runs))
    grid = figure.subplots(len(runs), len(layers), sharex=True, sharey=sharey, squeeze=False)
    for row, run, name in zip(grid, runs, names, strict=True):
        label = row[0].set_ylabel("\n".join(name), rotation=0, ha="right", va="center")
        label.set_color(darker(run.look.color))
    for axes, layer in zip(grid[0], layers, strict=True):
        axes.set_title(unit_of(layer))
    return figure, grid


def _lines(name: str) -> list[str]:
    """Break a name such as `custom, batch 64` after commas where that is enough."""
    parts = ",\n".join(name.split(", ")).splitlines()
    lines = [line for part in parts for line in textwrap.wrap(part, LETTERS, break_long_words=False)]
    return [name] if len(name) <= LETTERS else lines
