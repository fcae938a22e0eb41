"""A metric of finished runs against a knob that was varied, a line for each of what else was varied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from bnexp import metrics
from bnexp.analysis.groups import Group, measured, neutral, newest
from bnexp.analysis.naming import names, phrase
from bnexp.analysis.query import known_keys
from bnexp.analysis.records import ABSENT, Record
from bnexp.errors import ConfigError, suggestion
from bnexp.figures.style import PALETTE, legend_above, new_figure
from bnexp.figures.subjects import Drawing, Look, look

PANEL_IN = 2.6
MARGIN = 0.06  # of the runs' range
MOST_LINES = len(PALETTE)  # more would share colours
FACTOR = 4.0  # values that reach over more than this, in even steps of their logarithms, have such an axis


@dataclass(frozen=True)
class Line:
    """What one line shows: the runs at each value of the knob, rising."""

    name: str
    look: Look
    groups: Mapping[float, Group]


def lines_over(records: Sequence[Record], x: str, by: str | None = None) -> tuple[list[Line], list[str]]:
    """Return a line for each configuration apart from `x`, or each value of `by`, and notes.

    Of each seed the newest run of a configuration counts. Runs without a number at `x` are left out.

    Raises:
        ConfigError: no run has the key, or its values are no numbers.
    """
    for key in (x, *([by] if by else [])):
        if all(record.value(key) is ABSENT for record in records):
            raise ConfigError(f"{key}: no run has this key{suggestion(key, known_keys(records))}")
    ordered = sorted(newest(records), key=lambda record: record.started)
    kept = [record for record in ordered if _number(record.value(x)) is not None]
    if not kept:
        raise ConfigError(f"{x} must have numbers to draw against: its values here are no numbers")
    members: dict[str, list[Record]] = {}
    for record, name in zip(kept, _names(kept, x, by), strict=True):
        members.setdefault(name, []).append(record)
    if len(members) > MOST_LINES:
        raise ConfigError(
            f"metric draws at most {MOST_LINES} lines, got {len(members)}: choose fewer runs, or --by KEY"
        )
    found = []
    for index, (name, runs) in enumerate(members.items()):
        at: dict[float, list[Record]] = {}
        for record in runs:
            at.setdefault(float(record.value(x)), []).append(record)
        groups = {value: Group(name, {}, at[value]) for value in sorted(at)}
        found.append(Line(name, look(index), groups))
    left = len(ordered) - len(kept)
    told = "1 run" if left == 1 else f"{left} runs"
    return found, [f"{told} without a number of {x} left out"] if left else []


def draw_metric(records: Sequence[Record], x: str, tags: Sequence[str], by: str | None = None) -> Drawing:
    """Draw a panel for each metric: means over seeds with their 95 % intervals, and each run as a point.

    The interval is that of `bnexp compare`. The horizontal axis is logarithmic where the values were chosen
    so. A run that diverged, which enters no mean, is a cross at the panel's worse edge.

    Raises:
        ConfigError: a key that no run has or that has no numbers, or no run has any of the metrics.
    """
    found, notes = lines_over(records, x, by)
    every = [group for line in found for group in line.groups.values()]
    known = [tag for tag in tags if any(_runs(group, tag) for group in every)]
    if not known:
        raise ConfigError(f"no run that ended well has {', '.join(tags)}")
    notes += [f"no run that ended well has {tag}" for tag in tags if tag not in known]
    figure = new_figure(PANEL_IN)
    values, crosses = sorted({value for line in found for value in line.groups}), False
    for axes, tag in zip(figure.subplots(1, len(known), squeeze=False)[0], known, strict=True):
        for line in found:
            _draw_line(axes, line, tag)
        if is_logarithmic(values):
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(values, [f"{value:g}" for value in values], rotation=45 if len(values) > 6 else 0)
        axes.set(xlabel=x, ylabel=metrics.of(tag).axis)
        axes.grid(axis="y", color="0.9", lw=0.6)
        axes.set_axisbelow(True)
        _limit(axes, found, tag)
        crosses |= _mark_diverged(axes, found, tag)
    handles: dict[str, Artist] = {line.name: _handle(line.look) for line in found}
    if crosses:
        handles["diverged"] = Line2D([], [], color="0.3", marker="x", ls="")
    legend_above(figure, list(handles.values()), list(handles))
    return Drawing(figure, notes)


def _handle(style: Look) -> Line2D:
    return Line2D([], [], color=style.color, ls=style.line, marker=style.marker)


def is_logarithmic(values: Sequence[float]) -> bool:
    """Whether numbers were chosen by factors: their logarithms lie more evenly than they do themselves."""
    if len(values) < 3 or values[0] <= 0 or values[-1] < FACTOR * values[0]:
        return False
    plain, logarithms = np.diff(values), np.diff(np.log(values))
    return bool(np.std(logarithms) / np.mean(logarithms) < np.std(plain) / np.mean(plain))


def _names(records: Sequence[Record], x: str, by: str | None) -> list[str]:
    if by is not None:
        return [_value_named(by, record.value(by)) for record in records]
    configs: list[Mapping[str, Any]] = [
        {**neutral(record.config, [x], follow=True), "seed": None} for record in records
    ]
    return names(configs)


def _value_named(key: str, value: Any) -> str:
    if value is ABSENT:
        return f"no {key}"
    said = phrase(f"choices.{key}", value)
    return said if not said.startswith("choices.") else phrase(key, value)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _runs(group: Group, tag: str) -> list[float]:
    """Return the metric of each run that did not diverge, in the unit of the axis."""
    values = (measured(record, tag) for record in group.records)
    return [value / metrics.of(tag).scale for value in values if value is not None]


def _draw_line(axes: Axes, line: Line, tag: str) -> None:
    metric, style = metrics.of(tag), line.look
    for value, group in line.groups.items():
        runs = _runs(group, tag)
        axes.plot([value] * len(runs), runs, color=style.color, marker=".", ls="", ms=4, alpha=0.45)
    found = {value: group.estimate(tag) for value, group in line.groups.items()}
    known = {value: one for value, one in found.items() if one is not None}
    # NaN draws nothing: a single run has no interval, and none is not one of zero
    halves = [np.nan if one.half_width is None else one.half_width / metric.scale for one in known.values()]
    axes.errorbar(
        list(known),
        [one.mean / metric.scale for one in known.values()],
        yerr=halves,
        color=style.color,
        ls=style.line,
        marker=style.marker,
        ms=5,
        lw=1.4,
        elinewidth=1.0,
        capsize=2,
    )


def _limit(axes: Axes, found: Sequence[Line], tag: str) -> None:
    """Show all runs; an interval may leave the panel, as that of a few runs that differ much does."""
    values = [value for line in found for group in line.groups.values() for value in _runs(group, tag)]
    margin = MARGIN * (max(values) - min(values)) or MARGIN * abs(max(values)) or 1.0
    axes.set_ylim(min(values) - margin, max(values) + margin)


def _mark_diverged(axes: Axes, found: Sequence[Line], tag: str) -> bool:
    """Put a cross at the worse edge where a run diverged; return whether one did."""
    edge, any_did = 1.0 if metrics.of(tag).better == "lower" else 0.0, False
    for line in found:
        for value in (value for value, group in line.groups.items() if group.count("diverged")):
            axes.annotate(
                "\N{MULTIPLICATION SIGN}",
                (value, edge),
                xycoords=axes.get_xaxis_transform(),
                color=line.look.color,
                ha="center",
                va="center",
            )
            any_did = True
    return any_did
