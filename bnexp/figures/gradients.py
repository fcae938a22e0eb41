"""The gradient of each weight at initialization: all runs in each panel, or run under run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from bnexp.analysis.layers import choose
from bnexp.figures.density import joined
from bnexp.figures.style import legend_above, new_figure
from bnexp.figures.subjects import Drawing, Subject, panels, those_with
from bnexp.models.part_names import is_of_norm, unit_of
from bnexp.runs.distribution import Array, Distribution

PREFIX = "gradient/"
NEEDS = "gradient histograms: telemetry=default or full"
MOST_LAYERS = 6
GRID_LAYERS = 5
ROW_IN = 0.5
REACH = 6.0  # standard deviations to both sides
FINEST = 0.1  # standard deviations: narrower buckets are joined
NARROWEST = 1.2  # the last bucket's upper over its lower edge
HIGHEST = 2.0  # times the median of the panels' peaks: a narrow bucket with a value or two leaves its panel
LEAST_SHARE = 0.01  # of the magnitudes may lie below the left panels


def draw(runs: Sequence[Subject], patterns: Sequence[str]) -> Drawing:
    """Draw the first recorded step's gradients, a row for each weight, all runs in each panel.

    On the left the magnitude |g| on a logarithmic axis, as a density per decade: where it stands compares
    layers and runs. On the right g over its own standard deviation, on a logarithmic density beside the
    Gaussian's: how heavy the tails are. The panels of a column share both axes. The weights of norms are
    drawn only where a pattern names them.

    Raises:
        ConfigError: no run logged any.
    """
    content = {run.name: run.histograms(PREFIX) for run in runs}
    runs, notes = those_with(runs, {name: list(tags) for name, tags in content.items()}, "gradients", NEEDS)
    names = [weights(list(content[run.name]), bool(patterns)) for run in runs]
    chosen = choose(names, patterns, MOST_LAYERS)
    first = {run.name: [content[run.name][PREFIX + name][0] for name in chosen.names] for run in runs}
    figure = new_figure(0.6 + 1.05 * len(chosen.names))
    grid = figure.subplots(len(chosen.names), 2, sharex="col", sharey="col", squeeze=False)
    for run in runs:
        for (left, right), (_, found) in zip(grid, first[run.name], strict=True):
            _draw_steps(left, run, *magnitudes(found))
            _draw_steps(right, run, *scaled(found))
    _set_axes(grid, chosen.names, [found for steps in first.values() for _, found in steps])
    handles = [*grid[0, 0].lines, grid[0, 1].lines[-1]]
    legend_above(figure, handles, [*(run.name for run in runs), "Gaussian"])
    latest = max(step for steps in first.values() for step, _ in steps)
    if latest > 0:
        notes.append(f"these gradients are the first recorded, of step {latest}, not of initialization")
    return Drawing(figure, notes + chosen.notes)


def draw_grid(runs: Sequence[Subject], patterns: Sequence[str]) -> Drawing:
    """Draw the first recorded |g| of each weight as a density per decade; all panels share both axes.

    A line stands at the median. Weights of norms are drawn only where a pattern names them.

    Raises:
        ConfigError: no run logged any.
    """
    content = {run.name: run.histograms(PREFIX) for run in runs}
    runs, notes = those_with(runs, {name: list(tags) for name, tags in content.items()}, "gradients", NEEDS)
    names = [weights(list(content[run.name]), bool(patterns)) for run in runs]
    chosen = choose(names, patterns, GRID_LAYERS)
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


def magnitudes(found: Distribution) -> tuple[Array, Array]:
    """Return rising edges of |g| and the share of values per decade between them.

    The edges are the positive ones, or the mirrored negative ones where these are more. The bucket around
    zero has no decade and is left out; nothing is left where all are zero. The last bucket ends at the
    greatest |g|, and is joined to the one before where that is close to its other edge.
    """
    negative, positive = -found.edges[found.edges < 0], found.edges[found.edges > 0]
    inner, last = max(negative, positive, key=len), np.abs(found.edges).max()
    if last == 0:
        return np.zeros(0), np.zeros(0)
    inner = inner[inner < last / NARROWEST]
    edges = np.unique(np.append(inner if inner.size else last / NARROWEST, last))
    within = found.up_to(edges) - found.below(-edges)
    return edges, np.diff(within) / np.diff(np.log10(edges))


def scaled(found: Distribution) -> tuple[Array, Array]:
    """Return rising edges of g over its standard deviation and the density between them."""
    std = found.std or 1.0
    edges, reached = joined(found, FINEST * std)
    return edges / std, std * np.diff(reached) / np.diff(edges)


def gaussian(x: Array) -> Array:
    """Return the density of the standard normal distribution."""
    density: Array = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    return density


def weights(tags: Sequence[str], every: bool) -> list[str]:
    names = [tag.removeprefix(PREFIX) for tag in tags]
    return names if every else [name for name in names if name.endswith(".weight") and not is_of_norm(name)]


def _draw_steps(axes: Axes, run: Subject, edges: Array, density: Array) -> None:
    axes.step(edges, np.append(density, density[-1:]), where="post", color=run.look.color, ls=run.look.line)


def _set_axes(grid: NDArray[Any], names: Sequence[str], found: Sequence[Distribution]) -> None:
    x = np.linspace(-REACH, REACH, 401)
    for (left, right), name in zip(grid, names, strict=True):
        right.plot(x, gaussian(x), color="0.25", lw=0.8, ls=(0, (1, 2)), zorder=0)
        left.set_ylabel(unit_of(name))
    (left, right), (lowest_left, lowest_right) = grid[0], grid[-1]
    left.set(xscale="log", xlim=(least(found), None), ylim=(0, None), title="density per decade")
    right.set_yscale("log", nonpositive="mask")
    right.set(xlim=(-REACH, REACH), ylim=_densities(found), title="density")
    lowest_left.set_xlabel("magnitude of the gradient |g|")
    lowest_right.set_xlabel("g / its standard deviation")


def least(found: Sequence[Distribution]) -> float | None:
    starts = [quantile for one in found if (quantile := magnitude_quantile(one, LEAST_SHARE)) > 0]
    return min(starts, default=None)


def magnitude_quantile(found: Distribution, share: float) -> float:
    edges, density = magnitudes(found)
    reached = np.cumsum(density * np.diff(np.log10(edges)))
    return float(edges[np.searchsorted(reached, share * reached[-1])]) if reached.size else 0.0


def _densities(found: Sequence[Distribution]) -> tuple[float, float]:
    seen = np.concatenate([scaled(one)[1] for one in found])
    seen = seen[seen > 0]
    return max(1e-8, 0.3 * float(seen.min())), 3 * max(1.0, float(seen.max()))


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
