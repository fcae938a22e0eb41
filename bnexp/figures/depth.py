"""What reaches each layer, from input to output: activations, gradients and gaps at two steps of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bnexp.analysis.layers import choose, layers
from bnexp.errors import ConfigError
from bnexp.figures import activations, gradients, running_stats
from bnexp.figures.gradients import weights
from bnexp.figures.style import legend_above, new_figure
from bnexp.figures.subjects import Drawing, Subject, line_of
from bnexp.runs.distribution import Distribution

ROWS = (
    "standard deviation\nbefore the norm",
    "root mean square\nof the weights' gradient",
    "gap of variances\n(|ln ratio|)",
)
NEEDS = "histograms: telemetry=default or full"
FEW = 20  # layers that each get a marker

Values = Mapping[str, float]  # by layer, from input to output
Found = tuple[Mapping[int, Values], ...]  # for each of ROWS, by step


def draw(runs: Sequence[Subject], patterns: Sequence[str]) -> Drawing:
    """Draw a row for each of ROWS and a column for the first and the last step, one line for each run.

    Layers are counted from the input: those with a norm's place in the first and the last row, weight layers
    (the classifier too) in the second. Of gradients, the root mean square is sqrt(mean^2 + std^2) over all
    of a layer's weights. The gap is that of `running_gap/<layer>/var`.

    Raises:
        ConfigError: no run logged any, or a pattern picks nothing.
    """
    found = {run.name: _measured(run, patterns) for run in runs}
    shown = [run for run in runs if any(found[run.name])]
    if not shown:
        raise ConfigError(f"depth needs {NEEDS}; none of it in {', '.join(run.name for run in runs)}")
    notes = [f'run "{run.name}" left out: depth needs {NEEDS}' for run in runs if run not in shown]
    rows = [row for row in range(len(ROWS)) if any(found[run.name][row] for run in shown)]
    figure = new_figure(0.5 + 1.6 * len(rows))
    grid = figure.subplots(len(rows), 2, sharey="row", squeeze=False)
    for panels, row in zip(grid, rows, strict=True):
        for axes, end in zip(panels, (min, max), strict=True):
            for run in shown:
                if by_step := found[run.name][row]:
                    _draw_line(axes, run, by_step[end(by_step)])
        _set_scale(panels)
        panels[0].set_ylabel(ROWS[row])
    for axes, title in zip(grid[0], _titles([found[run.name] for run in shown]), strict=True):
        axes.set_title(title)
    for axes in grid[-1]:
        axes.set_xlabel("layer, from input to output")
    legend_above(figure, [line_of(run) for run in shown], [run.name for run in shown])
    return Drawing(figure, notes)


def _measured(run: Subject, patterns: Sequence[str]) -> Found:
    """Return what a run has of each row; nothing where it logged none."""
    before, slopes = run.histograms(activations.PREFIX), run.histograms(gradients.PREFIX)
    gaps = [tag for tag in run.metrics if tag.startswith(running_stats.PREFIX)]
    places = _picked(layers(list(before), activations.PREFIX), patterns)
    named = _picked(weights(list(slopes), False), patterns)
    tracking = _picked(layers(gaps, running_stats.PREFIX), patterns)
    return (
        _by_step({name: _spreads(before.get(f"{activations.PREFIX}{name}/in", [])) for name in places}),
        _by_step({name: _sizes(slopes[gradients.PREFIX + name]) for name in named}),
        _by_step({name: _series(run, f"{running_stats.PREFIX}{name}/var") for name in tracking}),
    )


def _picked(names: Sequence[str], patterns: Sequence[str]) -> Sequence[str]:
    return choose([names], patterns, len(names)).names if names else []


def _spreads(found: Sequence[tuple[int, Distribution]]) -> dict[int, float]:
    return {step: one.std for step, one in found}


def _sizes(found: Sequence[tuple[int, Distribution]]) -> dict[int, float]:
    return {step: math.hypot(one.mean, one.std) for step, one in found}


def _series(run: Subject, tag: str) -> dict[int, float]:
    series = run.metrics[tag]
    return dict(zip(series.steps.tolist(), series.values.tolist(), strict=True))


def _by_step(by_layer: Mapping[str, Mapping[int, float]]) -> dict[int, Values]:
    """Return the values of all layers at each step at which all of them have one."""
    if not by_layer:
        return {}
    steps = set.intersection(*(set(values) for values in by_layer.values()))
    return {step: {name: values[step] for name, values in by_layer.items()} for step in sorted(steps)}


def _draw_line(axes: Axes, run: Subject, values: Values) -> None:
    numbers = np.asarray(list(values.values()))
    marker = run.look.marker if len(numbers) <= FEW else ""
    places = np.arange(1, len(numbers) + 1)
    axes.plot(places, numbers, color=run.look.color, ls=run.look.line, marker=marker, ms=4)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def _set_scale(panels: Sequence[Axes]) -> None:
    """Take logarithms where values reach over more than a decade."""
    numbers = np.concatenate([np.asarray(line.get_ydata()) for axes in panels for line in axes.lines])
    positive = numbers[np.isfinite(numbers) & (numbers > 0)]
    if positive.size and positive.max() > 10 * positive.min():
        panels[0].set_yscale("log")


def _titles(found: Sequence[Found]) -> tuple[str, str]:
    ends = [{end(by_step) for rows in found for by_step in rows if by_step} for end in (min, max)]
    first, last = (f"step {steps.pop()}" if len(steps) == 1 else "" for steps in ends)
    return first or "first step", last or "last step"
