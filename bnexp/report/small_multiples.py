"""What happened inside: figures that show one run of each configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bnexp.analysis.groups import Group
from bnexp.display.comparison import Comparison
from bnexp.figures import gradient_grid, loss, percentile_grid, percentiles, running_stats
from bnexp.figures.subjects import Drawing, Shown
from bnexp.report import captions
from bnexp.report.picture import Plan, shares
from bnexp.report.selection import representative, some, told_apart


@dataclass(frozen=True)
class Kind:
    """A figure that shows one run of each of at most `most` configurations.

    prefix: of a scalar that runs with something to show have logged; overlaid: all runs share panels.
    """

    name: str
    heading: str
    draw: Callable[[Sequence[Shown], Sequence[str]], Drawing]
    caption: str
    prefix: str = ""
    most: int = 6
    overlaid: bool = False


KINDS = (
    Kind(
        "running_stats",
        "Running statistics",
        running_stats.draw,
        captions.RUNNING_STATS,
        running_stats.PREFIX,
        most=4,
        overlaid=True,
    ),
    Kind("percentiles", "Activations", percentile_grid.draw, captions.PERCENTILES, percentiles.PREFIX),
    Kind("gradients", "Gradients at initialization", gradient_grid.draw, captions.GRADIENTS),
)


def plans(comparison: Comparison, shown: Sequence[loss.Group]) -> list[Plan]:
    """Return the figures of running statistics, activations and gradients."""
    return [Plan(kind.name, kind.heading, partial(_drawn, kind, comparison, shown)) for kind in KINDS]


def _drawn(kind: Kind, comparison: Comparison, shown: Sequence[loss.Group]) -> tuple[Drawing, list[str]]:
    pairs = list(zip(comparison.groups, shown, strict=True))
    able = [pair for pair in pairs if _logged(representative(*pair), kind.prefix)] or pairs
    groups, tag = [group for group, _ in able], comparison.metrics[0]
    picked = some(groups, tag, kind.most)
    kept = [able[place][1] for place in picked]
    kept = told_apart(kept) if kind.overlaid else kept
    chosen = [representative(groups[place], looked) for place, looked in zip(picked, kept, strict=True)]
    which = [_which(comparison.groups), *shares(picked, len(groups), tag)]
    return kind.draw(chosen, ()), [kind.caption, *which]


def _logged(run: Shown, prefix: str) -> bool:
    return any(tag.startswith(prefix) for tag in run.metrics)


def _which(groups: Sequence[Group]) -> str:
    """Say which run of a configuration is shown."""
    if all(len(group.records) == 1 for group in groups):
        return ""
    seeds = {min(record.config.get("seed", 0) for record in group.records) for group in groups}
    told = f"seed {seeds.pop()}" if len(seeds) == 1 else "the lowest seed"
    return captions.ONE_RUN.format(seed=told)
