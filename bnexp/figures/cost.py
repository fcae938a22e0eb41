"""What runs cost: a dot for each run, and the mean of each group with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bnexp import metrics
from bnexp.analysis.groups import Group
from bnexp.errors import ConfigError
from bnexp.figures.style import legend_above, new_figure
from bnexp.figures.subjects import Drawing, Look
from bnexp.metrics import Metric

COSTS = ("step_time_ms", "peak_memory_bytes")
ROW_IN = 0.2
ROOM = 1.12  # the axis reaches so far beyond what is shown


def draw(groups: Sequence[Group], looks: Sequence[Look]) -> Drawing:
    """Draw time and memory from zero on, a row for each group.

    Raises:
        ConfigError: no run says what it cost.
    """
    tags = [tag for tag in COSTS if any(group.estimate(tag) is not None for group in groups)]
    if not tags:
        raise ConfigError("costs need runs that took a step: no result.json holds seconds or memory")
    figure = new_figure(0.65 + ROW_IN * len(groups))
    grid = figure.subplots(1, len(tags), sharey=True, squeeze=False)[0]
    for axes, tag in zip(grid, tags, strict=True):
        metric = metrics.of(tag)
        ends = [_draw_row(axes, row, group, metric, looks[row]) for row, group in enumerate(groups)]
        axes.set(xlabel=metric.axis, xlim=(0, ROOM * max(ends)))
        axes.grid(axis="x", color="0.9", lw=0.6)
        axes.set_axisbelow(True)
    grid[0].set_yticks(range(len(groups)), [group.name for group in groups])
    grid[0].set_ylim(len(groups) - 0.5, -0.5)
    keys: dict[str, Artist] = {
        "a run": Line2D([], [], color="0.5", marker="|", ls=""),
        "mean, 95 % interval": Line2D([], [], color="0.2", marker="o"),
    }
    legend_above(figure, list(keys.values()), list(keys))
    return Drawing(figure)


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
