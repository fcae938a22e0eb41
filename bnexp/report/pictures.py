"""The figures of a report, in their order, each with its caption or the reason why it is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from bnexp.analysis.groups import Group, grouped
from bnexp.analysis.records import Record
from bnexp.analysis.variation import crossed, knobs, two_swept
from bnexp.display.comparison import Comparison
from bnexp.errors import CheckpointError, ConfigError
from bnexp.figures import curves, gradients, percentiles, running_stats, summaries
from bnexp.figures.curves import Column
from bnexp.figures.loss import Arm
from bnexp.figures.metric import draw_metric
from bnexp.figures.style import styled, svg
from bnexp.figures.subjects import Drawing, Subject
from bnexp.report import captions
from bnexp.report.selection import MOST_CURVES, Faceted, arms_of, distinct, faceted, representative, some
from bnexp.runs.identity import slug

MOST_COSTS = 40
MOST_MAPS = 2


@dataclass(frozen=True)
class Picture:
    """A figure as SVG text, None where `caption` says why it is missing.

    name: as in a file's name; heading: of its section, which figures that follow each other may share.
    """

    name: str
    heading: str
    svg: str | None
    caption: str


@dataclass(frozen=True)
class Illustration:
    """A figure to be drawn: `draw` gives it with the sentences of its caption."""

    name: str
    heading: str
    draw: Callable[[], tuple[Drawing, list[str]]]


@dataclass(frozen=True)
class SmallMultiple:
    """A figure that shows one run of each of at most `most` configurations.

    prefix: of a scalar that runs with something to show have logged; overlaid: all runs share panels.
    """

    name: str
    heading: str
    draw: Callable[[Sequence[Subject], Sequence[str]], Drawing]
    caption: str
    prefix: str = ""
    most: int = 6
    overlaid: bool = False


SMALL_MULTIPLES = (
    SmallMultiple(
        "running_stats",
        "Running statistics",
        running_stats.draw,
        captions.RUNNING_STATS,
        running_stats.PREFIX,
        most=4,
        overlaid=True,
    ),
    SmallMultiple(
        "percentiles", "Activations", percentiles.draw_grid, captions.PERCENTILES, percentiles.PREFIX
    ),
    SmallMultiple("gradients", "Gradients at initialization", gradients.draw_grid, captions.GRADIENTS),
)


def pictures(comparison: Comparison, records: Sequence[Record]) -> list[Picture]:
    """Draw everything that the runs have something to show of.

    Raises:
        CheckpointError: the rows of a run are damaged.
    """
    mixed = any(len(grouped(group.records)) > 1 for group in comparison.groups)
    comparison = replace(comparison, groups=grouped(records)) if mixed else comparison
    arms: Sequence[Arm] = arms_of(comparison.groups)
    split = faceted(comparison.groups, arms) if len(arms) > MOST_CURVES else None
    arms = arms if split is None else split.groups
    plans = [
        *_curves(comparison, arms, split),
        Illustration("heat_map", "Two knobs at once", lambda: _heat_map(comparison.metrics, records)),
        *_over_knobs(comparison.metrics, records),
        *_small_multiples(comparison, arms),
        Illustration("cost", "Cost", lambda: _cost(comparison, arms)),
    ]
    with styled():
        found = [_picture(plan) for plan in plans]
    return [replace(found[0], caption=f"{captions.APART} {found[0].caption}"), *found[1:]] if mixed else found


def _curves(comparison: Comparison, arms: Sequence[Arm], split: Faceted | None) -> list[Illustration]:
    """Return one figure; of more groups than there are colours one for each axis, in facets if that helps."""
    groups, tag = comparison.groups, comparison.metrics[0]
    axes = ["step", *(["epoch"] if _batches_differ(groups) else []), "seconds"]
    caption, names = _curves_caption(groups), [name.partition("/")[0] for name in comparison.metrics]
    if split is None:
        chosen = some(groups, tag, MOST_CURVES)
        kept = distinct([arms[index] for index in chosen])
        columns = [Column(axis, kept) for axis in axes]
        caption = [*caption, *_share(chosen, len(groups), tag)]
        draw = partial(curves.draw, columns, kept, names)
        return [Illustration("curves", "Curves", partial(_with_caption, draw, caption))]
    plans = []
    for axis in axes:
        columns = [Column(axis, facet.groups, facet.title) for facet in split.facets]
        told = caption if axis == axes[0] else [f"The same against {curves.AXES[axis][0]}."]
        draw = partial(curves.draw, columns, split.legend, names)
        plans.append(Illustration(f"curves_by_{axis}", "Curves", partial(_with_caption, draw, told)))
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


def _over_knobs(metrics: Sequence[str], records: Sequence[Record]) -> list[Illustration]:
    """Return a figure for each knob of which several numbers were tried."""
    keys = [knob.title for knob in knobs(records) if knob.is_numeric]
    return [
        Illustration(f"over_{slug(key)}", f"Against {key}", partial(_over_knob, metrics, records, key))
        for key in keys
    ]


def _over_knob(metrics: Sequence[str], records: Sequence[Record], key: str) -> tuple[Drawing, list[str]]:
    return draw_metric(records, key, metrics[:MOST_MAPS]), [captions.over_knob(key)]


def _heat_map(metrics: Sequence[str], records: Sequence[Record]) -> tuple[Drawing, list[str]]:
    pair = two_swept(records)
    if pair is None:
        raise ConfigError("a heat map needs two knobs with two values each in all of the runs")
    columns, rows = sorted(pair, key=lambda knob: len(knob.values))
    maps = [crossed(records, rows, columns, tag) for tag in metrics[:MOST_MAPS]]
    caption = captions.heat_map([found.tag for found in maps], rows.title, columns.title)
    return summaries.draw_maps(maps), [caption]


def _cost(comparison: Comparison, arms: Sequence[Arm]) -> tuple[Drawing, list[str]]:
    groups, tag = comparison.groups, comparison.metrics[0]
    chosen = some(groups, tag, MOST_COSTS)
    looks = [arms[index].look for index in chosen]
    drawing = summaries.draw_costs([groups[index] for index in chosen], looks)
    on_cpu = any(record.result.get("device") == "cpu" for group in groups for record in group.records)
    return drawing, [
        captions.COST,
        *([captions.CPU_MEMORY] if on_cpu else []),
        *_share(chosen, len(groups), tag),
    ]


def _small_multiples(comparison: Comparison, arms: Sequence[Arm]) -> list[Illustration]:
    return [
        Illustration(kind.name, kind.heading, partial(_small_multiple, kind, comparison, arms))
        for kind in SMALL_MULTIPLES
    ]


def _small_multiple(
    kind: SmallMultiple, comparison: Comparison, arms: Sequence[Arm]
) -> tuple[Drawing, list[str]]:
    pairs = list(zip(comparison.groups, arms, strict=True))
    able = [pair for pair in pairs if _logged(representative(*pair), kind.prefix)] or pairs
    groups, tag = [group for group, _ in able], comparison.metrics[0]
    picked = some(groups, tag, kind.most)
    kept = [able[place][1] for place in picked]
    kept = distinct(kept) if kind.overlaid else kept
    chosen = [representative(groups[place], looked) for place, looked in zip(picked, kept, strict=True)]
    which = [_which(comparison.groups), *_share(picked, len(groups), tag)]
    return kind.draw(chosen, ()), [kind.caption, *which]


def _logged(run: Subject, prefix: str) -> bool:
    return any(tag.startswith(prefix) for tag in run.metrics)


def _which(groups: Sequence[Group]) -> str:
    """Say which run of a configuration is shown."""
    if all(len(group.records) == 1 for group in groups):
        return ""
    seeds = {min(record.config.get("seed", 0) for record in group.records) for group in groups}
    told = f"seed {seeds.pop()}" if len(seeds) == 1 else "the lowest seed"
    return captions.ONE_RUN.format(seed=told)


def _picture(plan: Illustration) -> Picture:
    """Draw a figure; what there is nothing of to show is said, and no error."""
    try:
        drawing, caption = plan.draw()
    except (ConfigError, CheckpointError) as error:
        return Picture(plan.name, plan.heading, None, f"Not shown: {'; '.join(str(error).splitlines())}.")
    notes = [f"{note[0].upper()}{note[1:]}." for note in drawing.notes]
    return Picture(plan.name, plan.heading, svg(drawing.figure), " ".join(filter(None, [*caption, *notes])))


def _share(chosen: Sequence[int], total: int, tag: str) -> list[str]:
    """Return the sentence that says which of many configurations are shown, if not all are."""
    return [captions.some(len(chosen), total, tag)] if len(chosen) < total else []
