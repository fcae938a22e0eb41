"""The figures of a report, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from bnexp.analysis.groups import Group, grouped
from bnexp.analysis.records import Record
from bnexp.analysis.variation import crossed, two_swept
from bnexp.display.comparison import Comparison
from bnexp.errors import ConfigError
from bnexp.figures import cost, curves, heat_map, loss
from bnexp.figures.curves import Column
from bnexp.figures.style import styled
from bnexp.figures.subjects import Drawing
from bnexp.report import captions, small_multiples
from bnexp.report.picture import Picture, Plan, picture, shares
from bnexp.report.selection import MOST_CURVES, Faceted, drawn, faceted, some, told_apart

MOST_COSTS = 40
MOST_MAPS = 2


def pictures(comparison: Comparison, records: Sequence[Record]) -> list[Picture]:
    """Draw everything that the runs have something to show of.

    Raises:
        CheckpointError: the rows of a run are damaged.
    """
    mixed = any(len(grouped(group.records)) > 1 for group in comparison.groups)
    comparison = replace(comparison, groups=grouped(records)) if mixed else comparison
    shown: Sequence[loss.Group] = drawn(comparison.groups)
    split = faceted(comparison.groups, shown) if len(shown) > MOST_CURVES else None
    shown = shown if split is None else split.groups
    plans = [
        *_curves(comparison, shown, split),
        Plan("heat_map", "Two knobs at once", lambda: _heat_map(comparison.metrics, records)),
        *small_multiples.plans(comparison, shown),
        Plan("cost", "Cost", lambda: _cost(comparison, shown)),
    ]
    with styled():
        found = [picture(plan) for plan in plans]
    return [replace(found[0], caption=f"{captions.APART} {found[0].caption}"), *found[1:]] if mixed else found


def _curves(comparison: Comparison, shown: Sequence[loss.Group], split: Faceted | None) -> list[Plan]:
    """Return one figure; of more groups than there are colours one for each axis, in facets if that helps."""
    groups, tag = comparison.groups, comparison.metrics[0]
    axes = ["step", *(["epoch"] if _batches_differ(groups) else []), "seconds"]
    caption, names = _curves_caption(groups), [name.partition("/")[0] for name in comparison.metrics]
    if split is None:
        chosen = some(groups, tag, MOST_CURVES)
        kept = told_apart([shown[index] for index in chosen])
        columns = [Column(axis, kept) for axis in axes]
        caption = [*caption, *shares(chosen, len(groups), tag)]
        draw = partial(curves.draw, columns, kept, names)
        return [Plan("curves", "Curves", partial(_with_caption, draw, caption))]
    plans = []
    for axis in axes:
        columns = [Column(axis, facet.groups, facet.title) for facet in split.facets]
        told = caption if axis == axes[0] else [f"The same against {curves.AXES[axis][0]}."]
        draw = partial(curves.draw, columns, split.legend, names)
        plans.append(Plan(f"curves_by_{axis}", "Curves", partial(_with_caption, draw, told)))
    return plans


def _with_caption(draw: Callable[[], Drawing], caption: list[str]) -> tuple[Drawing, list[str]]:
    return draw(), caption


def _curves_caption(groups: Sequence[Group]) -> list[str]:
    diverged = any(group.count("diverged") for group in groups)
    return [
        captions.CURVES,
        *([captions.DIVERGED] if diverged else []),
        *([captions.EPOCHS] if _batches_differ(groups) else []),
        captions.TIME,
    ]


def _batches_differ(groups: Sequence[Group]) -> bool:
    updates = {
        (record.config.get("batch_size"), record.config.get("accumulate"))
        for group in groups
        for record in group.records
    }
    return len(updates) > 1


def _heat_map(metrics: Sequence[str], records: Sequence[Record]) -> tuple[Drawing, list[str]]:
    pair = two_swept(records)
    if pair is None:
        raise ConfigError("a heat map needs two knobs with two values each in all of the runs")
    columns, rows = sorted(pair, key=lambda knob: len(knob.values))
    maps = [crossed(records, rows, columns, tag) for tag in metrics[:MOST_MAPS]]
    return heat_map.draw(maps), [captions.heat_map([found.tag for found in maps], rows.title, columns.title)]


def _cost(comparison: Comparison, shown: Sequence[loss.Group]) -> tuple[Drawing, list[str]]:
    groups, tag = comparison.groups, comparison.metrics[0]
    chosen = some(groups, tag, MOST_COSTS)
    drawing = cost.draw([groups[index] for index in chosen], [shown[index].look for index in chosen])
    on_cpu = any(record.result.get("device") == "cpu" for group in groups for record in group.records)
    return drawing, [
        captions.COST,
        *([captions.CPU_MEMORY] if on_cpu else []),
        *shares(chosen, len(groups), tag),
    ]
