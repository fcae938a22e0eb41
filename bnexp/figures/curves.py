"""Metrics of groups of runs, with bands over seeds, by step, by epoch and by training time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from bnexp import metrics
from bnexp.errors import CheckpointError, ConfigError
from bnexp.figures.loss import NEEDS, Arm, average, scale_loss, smoothed
from bnexp.figures.style import legend_above, new_figure
from bnexp.figures.subjects import Drawing, Subject
from bnexp.runs.directory import status
from bnexp.runs.reading import Series, read_config

SMOOTHING_PARTS = 10  # the smoothed curve averages over a tenth of the rows
FEW_POINTS = 12  # each gets a marker
ROW_IN = 1.55

Array = NDArray[np.float64]
Position = Callable[[Subject, NDArray[np.int64]], Array]  # where on an axis steps of a run stand


@dataclass(frozen=True)
class Column:
    """One column of panels: which groups, over which of AXES, under which title."""

    axis: str
    groups: Sequence[Arm]
    title: str = ""


def draw(columns: Sequence[Column], legend: Sequence[Arm], names: Sequence[str] = ()) -> Drawing:
    """Draw a row for each metric that was logged; all panels of a row share their vertical axis.

    A line is the mean over the runs of a group that did not diverge, at the steps that all of them logged; a
    band is one standard deviation (n - 1) to both sides, within the range of the runs. Runs that diverged
    are thin lines that end in a cross. Training is the centred mean over a tenth of the rows, and all but its
    loss is drawn without a validation split only.

    Args:
        legend: one group for each look.
        names: of metrics to draw besides those that are watched while a run trains.
    Raises:
        ConfigError: no run logged any.
    """
    members = [run for column in columns for group in column.groups for run in group.members]
    tags = _logged(members, names)
    if not tags:
        raise ConfigError(f"curves need {NEEDS}")
    figure = new_figure(0.35 + ROW_IN * len(tags))
    grid = figure.subplots(len(tags), len(columns), sharex="col", sharey="row", squeeze=False)
    for row, tag in zip(grid, tags, strict=True):
        for axes, column in zip(row, columns, strict=True):
            for group in column.groups:
                _draw_group(axes, group, tag, AXES[column.axis][1])
        if metrics.of(tag).unbounded:
            scale_loss(*row)
        for axes, column in zip(row, columns, strict=True):
            for group in column.groups:
                _mark_divergence(axes, group, tag, AXES[column.axis][1])
        row[0].set_ylabel(metrics.of(tag).axis)
    for axes, column in zip(grid[0], columns, strict=True):
        axes.set_title(column.title)
    for axes, column in zip(grid[-1], columns, strict=True):
        axes.set_xlabel(AXES[column.axis][0])
        axes.set_xlim(0, None)
    handles = [_handle(group) for group in legend]
    legend_above(figure, handles, [group.name for group in legend])
    figure.align_ylabels()
    return Drawing(figure)


def _logged(runs: Sequence[Subject], names: Sequence[str]) -> list[str]:
    drawn = [one for one in metrics.MEASURED if one.watched or one.name in names]
    tags = metrics.tags("train", "val", among=drawn)
    found = [tag for tag in tags if any(tag in run.metrics for run in runs)]
    spared = [f"{one.name}/train" for one in drawn if f"{one.name}/val" in found and one.name != "loss"]
    return [tag for tag in found if tag not in spared]


def by_step(run: Subject, steps: NDArray[np.int64]) -> Array:
    return steps.astype(np.float64)


def by_epoch(run: Subject, steps: NDArray[np.int64]) -> Array:
    """Return the epochs, with fractions, after `steps` updates."""
    return _at(run.metrics["epoch"], steps)


def by_time(run: Subject, steps: NDArray[np.int64]) -> Array:
    """Return the seconds of training that `steps` updates took, without evaluation and saving.

    They follow from the rates that were logged, each over the time since the one before, and end at the
    `seconds` of the run; without rates they grow with the examples.
    """
    examples, seconds = _timed(run)
    return np.interp(_at(run.metrics["examples"], steps), examples, seconds)


AXES: dict[str, tuple[str, Position]] = {
    "step": ("step", by_step),
    "epoch": ("epoch", by_epoch),
    "seconds": ("seconds of training", by_time),
}


def _timed(run: Subject) -> tuple[Array, Array]:
    """Return moments of training as examples seen and seconds spent, both rising."""
    examples, seconds = np.zeros(1), np.zeros(1)
    if (rates := run.metrics.get("examples_per_second")) is not None:
        config = read_config(run.directory)
        # A rate is read after the passes of a step and before its update is counted.
        seen = _at(run.metrics["examples"], rates.steps)
        seen = seen + config["batch_size"] * (config.get("accumulate") or 1)
        spent = np.diff(seen, prepend=0.0) / np.where(rates.values > 0, rates.values, np.inf)
        examples, seconds = np.append(examples, seen), np.append(seconds, np.cumsum(spent))
    result = _result(run)
    total, reached = result.get("seconds"), result.get("examples")
    if total and reached:
        within = (examples < reached) & (seconds < total)
        examples, seconds = np.append(examples[within], reached), np.append(seconds[within], total)
    return examples, seconds


def _result(run: Subject) -> dict[str, Any]:
    try:
        return run.directory.read_result() or {}
    except CheckpointError:
        return {}


def _at(series: Series, steps: NDArray[np.int64]) -> Array:
    return series.values[np.searchsorted(series.steps, steps)]


def _draw_group(axes: Axes, group: Arm, tag: str, position: Position) -> None:
    logged = [run for run in group.members if tag in run.metrics]
    diverged = [run for run in logged if status(run.directory) == "diverged"]
    for run in diverged:
        series = run.metrics[tag]
        axes.plot(position(run, series.steps), series.values, color=group.look.color, lw=0.6)
    kept = [run for run in logged if run not in diverged]
    if not kept:
        return
    members = [_seen(run.metrics[tag], tag) for run in kept]
    mean, low, high = _mean_and_band(members)
    x = np.mean([position(run, mean.steps) for run in kept], axis=0)
    color, marker = group.look.color, group.look.marker if len(mean) <= FEW_POINTS else ""
    axes.fill_between(x, low, high, color=color, alpha=0.18, lw=0)
    axes.plot(x, mean.values, color=color, ls=group.look.line, marker=marker, mfc="white")


def _mean_and_band(members: Sequence[Series]) -> tuple[Series, Array, Array]:
    """Return the mean, and one standard deviation to both sides of it within the range of the members."""
    mean, spread = average(members)
    values = np.stack([one.values[np.isin(one.steps, mean.steps)] for one in members])
    low = np.maximum(mean.values - spread, values.min(axis=0))
    return mean, low, np.minimum(mean.values + spread, values.max(axis=0))


def _mark_divergence(axes: Axes, group: Arm, tag: str, position: Position) -> None:
    """Put a cross where a diverged run's last finite value is, at the panel's edge if that is outside."""
    for run in group.members:
        series = run.metrics.get(tag)
        if series is None or status(run.directory) != "diverged":
            continue
        finite = np.flatnonzero(np.isfinite(series.values))[-1:]
        values = np.clip(series.values[finite], *axes.get_ylim())
        cross = axes.plot(position(run, series.steps[finite]), values, color=group.look.color, marker="X")[0]
        cross.set(ms=7, mec="white", ls="", clip_on=False, zorder=5)


def _seen(series: Series, tag: str) -> Series:
    """Smooth what was measured on single batches."""
    width = 2 * (len(series) // (2 * SMOOTHING_PARTS)) + 1
    return Series(series.steps, smoothed(series.values, width)) if tag.endswith("/train") else series


def _handle(group: Arm) -> Line2D:
    look = group.look
    return Line2D([], [], color=look.color, ls=look.line, marker=look.marker, mfc="white")
