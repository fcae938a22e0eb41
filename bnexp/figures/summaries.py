"""Figures of final numbers: a metric over two knobs as numbers on colours, and what runs cost."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mode

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D

from bnexp import metrics
from bnexp.analysis.groups import Group
from bnexp.analysis.naming import value_name
from bnexp.analysis.variation import Crossed, Crossing
from bnexp.errors import ConfigError
from bnexp.figures.style import WIDTH_IN, legend_above, new_figure
from bnexp.figures.subjects import LINE_IN, Drawing, Look, lines
from bnexp.metrics import Metric

COLORS = "cividis"  # one hue order for all kinds of sight, and rising in brightness for print
MAP_ROW_IN = 0.42
BESIDE_IN = 0.75
MOST_SIDE_BY_SIDE = 5  # columns of a map, so that two maps stand beside each other
DARK = 0.55  # of the colour scale: brighter cells take black letters

COSTS = ("step_time_ms", "peak_memory_bytes")
COST_ROW_IN = 0.2
COST_LETTERS = 24
ROOM = 1.12  # the axis reaches so far beyond what is shown


def draw_maps(maps: Sequence[Crossed]) -> Drawing:
    """Draw each metric in a map of its own: rows and columns are the knobs' values.

    Brighter is better, or higher where it is not known which way is better. A cell without a number is a
    combination without a run, or without a run that has the metric.
    """
    columns = len(maps) if len(maps[0].columns.values) <= MOST_SIDE_BY_SIDE else 1
    rows = -(-len(maps) // columns)
    figure = new_figure(rows * (BESIDE_IN + MAP_ROW_IN * len(maps[0].rows.values)), WIDTH_IN)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, crossed in zip(grid.flat, maps, strict=True):
        _draw_map(axes, crossed)
        axes.set_title(metrics.of(crossed.tag).axis)
    return Drawing(figure)


def draw_costs(groups: Sequence[Group], looks: Sequence[Look]) -> Drawing:
    """Draw time and memory from zero on, a row for each group.

    Raises:
        ConfigError: no run says what it cost.
    """
    tags = [tag for tag in COSTS if any(group.estimate(tag) is not None for group in groups)]
    if not tags:
        raise ConfigError("costs need runs that took a step: no result.json holds seconds or memory")
    names = [lines(group.name, COST_LETTERS) for group in groups]
    figure = new_figure(0.65 + max(COST_ROW_IN, LINE_IN * max(map(len, names))) * len(groups))
    grid = figure.subplots(1, len(tags), sharey=True, squeeze=False)[0]
    for axes, tag in zip(grid, tags, strict=True):
        metric = metrics.of(tag)
        ends = [_draw_row(axes, row, group, metric, looks[row]) for row, group in enumerate(groups)]
        axes.set(xlabel=metric.axis, xlim=(0, ROOM * max(ends)))
        axes.grid(axis="x", color="0.9", lw=0.6)
        axes.set_axisbelow(True)
    grid[0].set_yticks(range(len(groups)), ["\n".join(name) for name in names])
    grid[0].set_ylim(len(groups) - 0.5, -0.5)
    keys: dict[str, Artist] = {
        "a run": Line2D([], [], color="0.5", marker="|", ls=""),
        "mean, 95 % interval": Line2D([], [], color="0.2", marker="o"),
    }
    legend_above(figure, list(keys.values()), list(keys))
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
    for knob, set_ticks in ((crossed.columns, axes.set_xticks), (crossed.rows, axes.set_yticks)):
        names = ["\n".join(lines(value_name(knob.key, value))) for value in knob.values]
        set_ticks(range(len(names)), names)
    axes.set(xlabel=crossed.columns.title, ylabel=crossed.rows.title)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _mean(cell: Crossing) -> float:
    return cell.estimate.mean if cell.estimate is not None else np.nan


def _told(cell: Crossing, metric: Metric, usual: int) -> str:
    """Return the mean, how many runs it is of where that is unusual, and how many diverged."""
    number = "–" if cell.estimate is None else metric.number(cell.estimate.mean)
    remarks = [f"n = {cell.runs}"] if cell.runs not in (usual, 0) else []
    remarks += [f"{cell.diverged} diverged"] if cell.diverged else []
    return "\n".join([number, ", ".join(remarks)]) if remarks else number


def _draw_row(axes: Axes, row: int, group: Group, metric: Metric, look: Look) -> float:
    """Draw one group; return how far the axis should reach for it: an interval may leave the panel."""
    known = (record.metric(metric.name) for record in group.records)
    values = [value / metric.scale for value in known if value is not None]
    found = group.estimate(metric.name)
    if found is None:
        return 0.0
    axes.plot(values, np.full(len(values), row), color=look.color, marker="|", ls="", ms=6, alpha=0.6)
    mean, half = found.mean / metric.scale, (found.half_width or 0.0) / metric.scale
    if found.half_width is not None:
        axes.plot([max(0.0, mean - half), mean + half], [row, row], color=look.color, lw=1.4)
    axes.plot([mean], [row], color=look.color, marker=look.marker, ls="", ms=5)
    return max(*values, min(mean + half, 1.5 * max(values)))
