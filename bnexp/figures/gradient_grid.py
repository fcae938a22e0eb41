"""The magnitudes of each weight's gradient at initialization, run under run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from bnexp.analysis.layers import choose
from bnexp.figures.gradients import NEEDS, PREFIX, least, magnitude_quantile, magnitudes, weights
from bnexp.figures.grid import panels
from bnexp.figures.subjects import Drawing, Shown, those_with
from bnexp.runs.distribution import Distribution

MOST_LAYERS = 5
ROW_IN = 0.5
HIGHEST = 2.0  # times the median of the panels' peaks: a narrow bucket with a value or two leaves its panel


def draw(runs: Sequence[Shown], patterns: Sequence[str]) -> Drawing:
    """Draw the first recorded |g| of each weight as a density per decade; all panels share both axes.

    A line stands at the median. Weights of norms are drawn only where a pattern names them.

    Raises:
        ConfigError: no run logged any.
    """
    content = {run.name: run.histograms(PREFIX) for run in runs}
    runs, notes = those_with(runs, {name: list(tags) for name, tags in content.items()}, "gradients", NEEDS)
    names = [weights(list(content[run.name]), bool(patterns)) for run in runs]
    chosen = choose(names, patterns, MOST_LAYERS)
    first = {run.name: [content[run.name][PREFIX + name][0] for name in chosen.names] for run in runs}
    figure, grid = panels(runs, chosen.names, ROW_IN, sharey="all")
    for row, run in zip(grid, runs, strict=True):
        for axes, (_, found) in zip(row, first[run.name], strict=True):
            _draw_magnitudes(axes, found, run.look.color)
            axes.tick_params(axis="x", which="minor", bottom=False)
    every = [found for steps in first.values() for _, found in steps]
    grid[0, 0].set(xscale="log", xlim=(least(every), None), ylim=(0, _highest(every)), yticks=[])
    figure.supxlabel("magnitude of the gradient |g|, density per decade")
    latest = max(step for steps in first.values() for step, _ in steps)
    if latest > 0:
        notes.append(f"these gradients are the first recorded, of step {latest}, not of initialization")
    return Drawing(figure, notes + chosen.notes)


def _highest(every: Sequence[Distribution]) -> float | None:
    peaks = [float(density.max()) for found in every if (density := magnitudes(found)[1]).size]
    return min(1.05 * max(peaks), HIGHEST * float(np.median(peaks))) if peaks else None


def _draw_magnitudes(axes: Axes, found: Distribution, color: str) -> None:
    edges, density = magnitudes(found)
    if not edges.size:
        return
    axes.stairs(density, edges, fill=True, color=color, alpha=0.35)
    axes.stairs(density, edges, color=color, lw=0.8)
    axes.axvline(magnitude_quantile(found, 0.5), color=color, lw=1.4)
