"""The metrics that are watched while a run trains, loss and accuracy, over its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from bnexp import metrics
from bnexp.figures.style import legend_above, new_figure
from bnexp.figures.subjects import Drawing, Look, Subject, look, those_with
from bnexp.metrics import WATCHED
from bnexp.runs.directory import status
from bnexp.runs.reading import Series

NEEDS = "rows of loss or accuracy: telemetry=default or full, or a validation split"
TAGS = metrics.tags("train", "val", among=WATCHED)
SMOOTHING_PARTS = 25  # the smoothed curve averages over a twenty-fifth of the rows
DECADES_FOR_LOG = 1.3
HIGHEST = 4.0  # times the greatest first loss: what is above is drawn at the edge


@dataclass(frozen=True)
class Arm:
    """Runs that differ in their seed alone, drawn as one."""

    name: str
    look: Look
    members: list[Subject]


def draw(runs: Sequence[Subject], patterns: Sequence[str]) -> Drawing:
    """Draw training (thin as logged, thick smoothed) and validation, a colour for each configuration.

    Several seeds of a configuration, each smoothed, become their mean and a band of one standard deviation
    (n - 1) to both sides, over the steps that all of them logged. A cross ends the curve of a run that
    diverged.

    Raises:
        ConfigError: no run logged any.
    """
    content = {run.name: [tag for tag in TAGS if tag in run.metrics] for run in runs}
    runs, notes = those_with(runs, content, "loss", NEEDS)
    groups = grouped(runs)
    figure = new_figure(2.7)
    for axes, metric in zip(figure.subplots(1, len(WATCHED)), WATCHED, strict=True):
        for group in groups:
            _draw_group(axes, group, metric.name)
        axes.set_xlabel("step")
        axes.set_ylabel(metric.axis)
        if metric.unbounded:
            scale_loss(axes)
        for group in groups:
            _mark_divergence(axes, group, metric.name)
    handles = [_handle(group) for group in groups]
    names = [group.name for group in groups]
    splits = {"training": Line2D([], [], color="black"), "validation": Line2D([], [], color="black", ls="--")}
    legend_above(figure, [*handles, *splits.values()], [*names, *splits])
    if any(len(group.members) > 1 for group in groups):
        notes.append("bands are one standard deviation over seeds to both sides of the mean")
    return Drawing(figure, notes)


def grouped(runs: Sequence[Subject]) -> list[Arm]:
    """Return the runs by configuration without its seed, in the order given."""
    members: dict[str, list[Subject]] = {}
    for run in runs:
        members.setdefault(run.question, []).append(run)
    return [
        Arm(question if len(found) == 1 else f"{question} ({len(found)} seeds)", look(index), found)
        for index, (question, found) in enumerate(members.items())
    ]


def average(series: Sequence[Series]) -> tuple[Series, NDArray[np.float64]]:
    """Return the mean over the steps common to all, and the standard deviation (n - 1, 0 for one)."""
    steps = series[0].steps
    for other in series[1:]:
        steps = np.intersect1d(steps, other.steps)
    values = np.stack([one.values[np.isin(one.steps, steps)] for one in series])
    spread = values.std(axis=0, ddof=1) if len(series) > 1 else np.zeros(len(steps))
    return Series(steps, values.mean(axis=0)), spread


def smoothed(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return the centred mean over `width` values, an odd number; over fewer where some are not finite.

    At both ends it is over as many as there are to both sides, so that a curve starts where training did.
    """
    known = np.isfinite(values)
    weights = np.convolve(known.astype(float), np.ones(width), mode="same")
    sums = np.convolve(np.where(known, values, 0.0), np.ones(width), mode="same")
    means = np.where(known, sums / np.maximum(weights, 1.0), np.nan)
    for reach in range(min(width // 2, (len(values) + 1) // 2)):
        for centre in (reach, len(values) - 1 - reach):
            window = slice(centre - reach, centre + reach + 1)
            means[centre] = values[window][known[window]].mean() if known[centre] else np.nan
    return means


def _draw_group(axes: Axes, group: Arm, quantity: str) -> None:
    raw, validation = (_of_split(group, f"{quantity}/{split}") for split in ("train", "val"))
    training = [_smooth(series) for series in raw]
    color, marker = group.look.color, group.look.marker
    if len(raw) == 1 and training[0] is not raw[0]:
        axes.plot(raw[0].steps, raw[0].values, color=color, lw=0.5, alpha=0.35)
    if line := _draw_mean(axes, training, color):
        line.set(marker="" if validation else marker)
    if line := _draw_mean(axes, validation, color):
        line.set(ls="--", marker=marker, mfc="white")


def _of_split(group: Arm, tag: str) -> list[Series]:
    return [run.metrics[tag] for run in group.members if tag in run.metrics]


def _smooth(series: Series) -> Series:
    width = 2 * (len(series) // (2 * SMOOTHING_PARTS)) + 1
    return series if width == 1 else Series(series.steps, smoothed(series.values, width))


def _draw_mean(axes: Axes, members: Sequence[Series], color: str) -> Line2D | None:
    """Draw the mean of the seeds and their band; None where they share no step."""
    if not members:
        return None
    mean, spread = average(members)
    if not len(mean):
        return None
    if len(members) > 1:
        low, high = mean.values - spread, mean.values + spread
        axes.fill_between(mean.steps, low, high, color=color, alpha=0.2, lw=0)
    return axes.plot(mean.steps, mean.values, color=color, markevery=max(1, len(mean) // 8))[0]


def scale_loss(*sharing: Axes) -> None:
    """Take a logarithmic axis where it is needed; a loss far above all first ones leaves the panel.

    Args:
        sharing: panels with one vertical axis.
    """
    curves = [np.asarray(line.get_ydata(), dtype=np.float64) for axes in sharing for line in axes.lines]
    values = np.concatenate([np.zeros(0), *curves])
    values = values[np.isfinite(values) & (values > 0)]
    top = HIGHEST * max((curve[0] for curve in curves if np.isfinite(curve[0])), default=1.0)
    inside = values[values <= top]
    if not inside.size:
        return
    for axes in sharing:
        if np.log10(inside.max() / inside.min()) > DECADES_FOR_LOG:
            axes.set_yscale("log")
        if values.max() > top:
            axes.set_ylim(inside.min() / 1.2, top)


def _mark_divergence(axes: Axes, group: Arm, quantity: str) -> None:
    """Put a cross where a run's last finite value is, at the panel's edge if that is outside."""
    for run in group.members:
        series = run.metrics.get(f"{quantity}/train") or run.metrics.get(f"{quantity}/val")
        if series is None or status(run.directory) != "diverged":
            continue
        finite = np.flatnonzero(np.isfinite(series.values))
        if finite.size:
            value = np.clip(series.values[finite[-1]], *axes.get_ylim())
            cross = axes.plot(series.steps[finite[-1]], value, color=group.look.color, marker="X")[0]
            cross.set(ms=7, mec="white", ls="", clip_on=False, zorder=5)


def _handle(group: Arm) -> Line2D:
    return Line2D([], [], color=group.look.color, marker=group.look.marker)
