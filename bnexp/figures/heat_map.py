"""A metric over two swept knobs, as numbers on colours."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mode

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from bnexp import metrics
from bnexp.analysis.variation import Cell, Crossed
from bnexp.figures.style import WIDTH_IN, new_figure
from bnexp.figures.subjects import Drawing
from bnexp.metrics import Metric

COLORS = "cividis"  # one hue order for all kinds of sight, and rising in brightness for print
ROW_IN = 0.42
BESIDE_IN = 0.75
MOST_SIDE_BY_SIDE = 5  # columns of a map, so that two maps stand beside each other
DARK = 0.55  # of the colour scale: brighter cells take black letters


def draw(maps: Sequence[Crossed]) -> Drawing:
    """Draw each metric in a map of its own: rows and columns are the knobs' values.

    Brighter is better, or higher where it is not known which way is better. A cell without a number is a
    combination without a run, or without a run that has the metric.
    """
    columns = len(maps) if len(maps[0].columns.values) <= MOST_SIDE_BY_SIDE else 1
    rows = -(-len(maps) // columns)
    figure = new_figure(rows * (BESIDE_IN + ROW_IN * len(maps[0].rows.values)), WIDTH_IN)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, crossed in zip(grid.flat, maps, strict=True):
        _draw_map(axes, crossed)
        axes.set_title(metrics.of(crossed.tag).axis)
    return Drawing(figure)


def _draw_map(axes: Axes, crossed: Crossed) -> None:
    means = np.asarray([[_mean(cell) for cell in row] for row in crossed.cells])
    metric = metrics.of(crossed.tag)
    rising = metric.better != "lower"
    colors = matplotlib.colormaps[COLORS if rising else f"{COLORS}_r"]
    known = means[np.isfinite(means)]
    scale = Normalize(known.min(), known.max()) if known.size else Normalize(0, 1)
    edges = [np.arange(size + 1) - 0.5 for size in reversed(means.shape)]
    axes.pcolormesh(*edges, np.ma.masked_invalid(means), cmap=colors, norm=scale, edgecolor="white", lw=1.5)
    axes.invert_yaxis()
    usual = mode(cell.runs for row in crossed.cells for cell in row if cell.runs)
    for (row, column), mean in np.ndenumerate(means):
        bright = scale(mean) if rising else 1 - scale(mean)
        color = "black" if not np.isfinite(mean) or bright > DARK else "white"
        text = _told(crossed.cells[row][column], metric, usual)
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(len(crossed.columns.values)), [_plain(value) for value in crossed.columns.values])
    axes.set_yticks(range(len(crossed.rows.values)), [_plain(value) for value in crossed.rows.values])
    axes.set(xlabel=crossed.columns.title, ylabel=crossed.rows.title)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _mean(cell: Cell) -> float:
    return cell.estimate.mean if cell.estimate is not None else np.nan


def _told(cell: Cell, metric: Metric, usual: int) -> str:
    """Return the mean, how many runs it is of where that is unusual, and how many diverged."""
    number = "–" if cell.estimate is None else metric.number(cell.estimate.mean)
    remarks = [f"n = {cell.runs}"] if cell.runs not in (usual, 0) else []
    remarks += [f"{cell.diverged} diverged"] if cell.diverged else []
    return "\n".join([number, ", ".join(remarks)]) if remarks else number


def _plain(value: object) -> str:
    return "null" if value is None else str(value)
