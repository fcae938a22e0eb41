"""Ridgelines: how the values before and after each norm are distributed, and how that changes over time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import MaxNLocator

from bnexp.analysis.layers import choose, layers
from bnexp.errors import ConfigError
from bnexp.figures.density import smooth_density
from bnexp.figures.style import new_figure
from bnexp.figures.subjects import Drawing, Subject, lines, those_with
from bnexp.models.part_names import unit_of
from bnexp.runs.distribution import Distribution, bulk
from bnexp.runs.events import Histograms

PREFIX = "activation/"
NEEDS = "activation histograms: telemetry=default or full"
PLACES = {"in": "before", "out": "after"}
LETTERS = 90  # of all columns together
MOST_RUNS = 4
MOST_LAYERS = 6
RIDGES = 10
OVERLAP = 1.7  # the height of a ridge, in distances between two
POINTS = 400


def draw(runs: Sequence[Subject], patterns: Sequence[str]) -> Drawing:
    """Draw a ridge for each of some steps, time going up: a row for each layer, a column for each run.

    The rows hold first what comes in, then what goes out; the panels of one row and place share their axis,
    which spans the middle 99 % of the values of all of them. Each ridge is a density as high as all others.

    Raises:
        ConfigError: too many runs, or none logged any.
    """
    found = {run.name: run.histograms(PREFIX) for run in runs}
    runs, notes = those_with(runs, {name: list(tags) for name, tags in found.items()}, "activations", NEEDS)
    if len(runs) > MOST_RUNS:
        raise ConfigError(f"activations shows at most {MOST_RUNS} runs side by side, got {len(runs)}")
    chosen = choose([layers(found[run.name], PREFIX) for run in runs], patterns, MOST_LAYERS)
    idle = {run.name for run in runs if _is_idle(found[run.name], chosen.names)}
    columns = [(place, run) for place in PLACES for run in runs if place == "in" or run.name not in idle]
    figure = new_figure(0.6 + 1.3 * len(chosen.names))
    grid = figure.subplots(len(chosen.names), len(columns), sharey=True, squeeze=False)
    height = OVERLAP * _distance([steps for run in runs for steps in found[run.name].values()])
    for row, layer in zip(grid, chosen.names, strict=True):
        for axes, (place, run) in zip(row, columns, strict=True):
            tag = f"{PREFIX}{layer}/{place}"
            axes.set_xlim(*_range([found[other.name] for other in runs], tag))
            axes.xaxis.set_major_locator(MaxNLocator(3 if len(columns) <= 4 else 2, steps=[1, 2, 5, 10]))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            _draw_ridges(axes, found[run.name].get(tag, []), run.look.color, height)
        row[0].set_ylabel(f"{unit_of(layer)}\nstep")
    for axes, (place, run) in zip(grid[0], columns, strict=True):
        name = "\n".join(lines(run.name, LETTERS // len(columns)))
        axes.set_title(name if run.name in idle else f"{name}\n{PLACES[place]}", color=run.look.color)
    figure.supxlabel("value before and after the norm (densities, all scaled to one height)")
    figure.align_ylabels()
    return Drawing(figure, notes + chosen.notes)


def _is_idle(found: Histograms, names: Sequence[str]) -> bool:
    """Whether what comes out is what went in, as without a norm: it is then drawn once."""
    both = [[found.get(f"{PREFIX}{name}/{place}", []) for place in PLACES] for name in names]
    return any(before for before, _ in both) and all(_equal(before, after) for before, after in both)


def _equal(one: Sequence[tuple[int, Distribution]], other: Sequence[tuple[int, Distribution]]) -> bool:
    if [step for step, _ in one] != [step for step, _ in other]:
        return False
    pairs = [(mine, theirs) for (_, mine), (_, theirs) in zip(one, other, strict=True)]
    return all(
        np.array_equal(mine.edges, theirs.edges) and np.array_equal(mine.counts, theirs.counts)
        for mine, theirs in pairs
    )


def _distance(traces: Sequence[Sequence[tuple[int, Distribution]]]) -> float:
    """Return the steps between two ridges of the longest trace."""
    longest = [step for step, _ in spread_out(max(traces, key=lambda trace: trace[-1][0]), RIDGES)]
    return (longest[-1] - longest[0]) / (len(longest) - 1) if len(longest) > 1 else 1.0


def _range(found: Sequence[Histograms], tag: str) -> tuple[float, float]:
    parts = [one for histograms in found for _, one in histograms.get(tag, [])]
    return bulk(parts) if parts else (-1.0, 1.0)


def _draw_ridges(
    axes: Axes, over_time: Sequence[tuple[int, Distribution]], color: str, height: float
) -> None:
    """Draw each density over a baseline at its step, the earliest in front."""
    picked = spread_out(over_time, RIDGES)
    x = np.linspace(*axes.get_xlim(), POINTS)
    for order, (step, found) in enumerate(picked):
        density = smooth_density(found, x)
        ridge = step + height * density / (density.max() or 1.0)
        shade, behind = _shade(color, order / len(picked)), -order
        axes.fill_between(x, step, ridge, color=shade, lw=0, zorder=behind)
        axes.plot(x, ridge, color="white", lw=1.4, zorder=behind + 0.1)
        axes.plot(x, ridge, color=color, lw=0.7, zorder=behind + 0.2)
    if len(picked) == 1:
        axes.set_yticks([picked[0][0]])


def spread_out(over_time: Sequence[tuple[int, Distribution]], at_most: int) -> list[tuple[int, Distribution]]:
    """Return every k-th from the first on, with the least k that leaves `at_most`."""
    stride = -(-len(over_time) // at_most)
    return list(over_time[:: max(1, stride)])


def _shade(color: str, share: float) -> tuple[float, float, float]:
    """Return the colour mixed with white: pale for the first, strong for the last."""
    strength = 0.25 + 0.5 * share
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(color))
    return red, green, blue
