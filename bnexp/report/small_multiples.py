"""What happened inside: figures that show one run of each configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bnexp.display.comparison import NAMES, Comparison
from bnexp.figures import gradient_grid, loss, percentile_grid, percentiles, running_stats
from bnexp.figures.shown import Drawing, Shown
from bnexp.report import captions
from bnexp.report.picture import Plan, shares
from bnexp.report.shown import representative, some
from bnexp.runs.groups import Group

MOST = 6
MOST_RUNNING = 4  # in one panel, each with a band

Draw = Callable[[Sequence[Shown], Sequence[str]], Drawing]


def plans(comparison: Comparison, shown: Sequence[loss.Group]) -> list[Plan]:
    """Return the figures of running statistics, activations and gradients."""

    def plan(name: str, heading: str, draw: Draw, most: int, caption: str, prefix: str = "") -> Plan:
        return Plan(name, heading, lambda: _drawn(comparison, shown, draw, most, caption, prefix))

    return [
        plan(
            "running_stats",
            "Running statistics",
            running_stats.draw,
            MOST_RUNNING,
            captions.RUNNING_STATS,
            running_stats.PREFIX,
        ),
        plan(
            "percentiles", "Activations", percentile_grid.draw, MOST, captions.PERCENTILES, percentiles.PREFIX
        ),
        plan("gradients", "Gradients at initialization", gradient_grid.draw, MOST, captions.GRADIENTS),
    ]


def _drawn(
    comparison: Comparison, shown: Sequence[loss.Group], draw: Draw, most: int, caption: str, prefix: str
) -> tuple[Drawing, list[str]]:
    """Draw one run of each of some groups, of those that logged a tag with the prefix if any did."""
    pairs = list(zip(comparison.groups, shown, strict=True))
    runs = [representative(group, looked) for group, looked in pairs]
    logged = [index for index, run in enumerate(runs) if any(tag.startswith(prefix) for tag in run.metrics)]
    able = logged or list(range(len(runs)))
    groups = [comparison.groups[index] for index in able]
    tag = comparison.metrics[0]
    picked = some(groups, tag, most)
    chosen = [runs[able[place]] for place in picked]
    which = [_which(comparison.groups), *shares(picked, len(groups), NAMES.get(tag, tag))]
    return draw(chosen, ()), [caption, *which]


def _which(groups: Sequence[Group]) -> str:
    """Say which run of a configuration is shown."""
    if all(len(group.records) == 1 for group in groups):
        return ""
    seeds = {min(record.config.get("seed", 0) for record in group.records) for group in groups}
    told = f"seed {seeds.pop()}" if len(seeds) == 1 else "the lowest seed"
    return captions.ONE_RUN.format(seed=told)
