"""The table of `bnexp compare`, also as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape

from bnexp import metrics
from bnexp.analysis.groups import Baseline, Group, winners
from bnexp.analysis.statistics import Difference, Estimate
from bnexp.display import columns
from bnexp.display.columns import Cell, visible

SMALLEST_P = 0.001


@dataclass(frozen=True)
class Comparison:
    """Groups as rows, the choices in which they differ and their metrics as columns."""

    groups: Sequence[Group]
    metrics: Sequence[str]
    baseline: Baseline | None = None
    notes: Sequence[str] = field(default_factory=list)

    def choices(self) -> list[str]:
        """Return the keys of the choices in which the groups differ."""
        return list(dict.fromkeys(key for group in self.groups for key in group.choices))

    def headers(self) -> list[str]:
        """Return the titles of the columns."""
        found = [*(self.choices() or ["runs of"]), "n"]
        found += [f"{metrics.of(tag).title} ± 95 %" for tag in self.metrics]
        if self.baseline is not None:
            found.append(f"{metrics.of(self.metrics[0]).title} against {self.baseline.words}")
        return found

    def rows(self) -> list[list[str]]:
        """Return the text of each cell; a star marks the best of a column."""
        stars = zip(*(winners(self.groups, tag) for tag in self.metrics), strict=True)
        return [self._row(group, starred) for group, starred in zip(self.groups, stars, strict=True)]

    def _row(self, group: Group, starred: Sequence[bool]) -> list[str]:
        choices = [_plain(group.choices.get(key, "-")) for key in self.choices()] or [group.name]
        found = [*choices, count(group)]
        for tag, star in zip(self.metrics, starred, strict=True):
            found.append(estimated(group.estimate(tag), tag) + (" *" if star else ""))
        if self.baseline is not None:
            found.append(differs(self.baseline.difference(group, self.metrics[0]), self.metrics[0]))
        return found


def show(console: Console, comparison: Comparison) -> None:
    """Print the table, and what a reader of it must know."""
    headers, rows = comparison.headers(), comparison.rows()
    starred = {place for row in rows for place, cell in enumerate(row) if cell.endswith(" *")}
    cells = [[_styled(cell, place in starred) for place, cell in enumerate(row)] for row in rows]
    numbers = range(len(comparison.choices()) or 1, len(headers))
    columns.show(console, headers, cells, right=numbers, narrow="records")
    for note in [*legend(comparison), *comparison.notes]:
        console.print(escape(note), highlight=False, style="dim", soft_wrap=True)


def _styled(cell: str, beside_stars: bool) -> Cell:
    """Numbers stand under each other with and without a star."""
    return (visible(cell), "bold") if cell.endswith(" *") else visible(cell) + "  " * beside_stars


def markdown(comparison: Comparison) -> str:
    """Return the table in Markdown."""
    lines = [comparison.headers(), ["---"] * len(comparison.headers()), *comparison.rows()]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    # A note that begins with the sign it explains would begin a list.
    notes = [
        f"- {chr(92) if note[0] == '*' else ''}{note}" for note in [*legend(comparison), *comparison.notes]
    ]
    return "\n".join([table, "", *notes])


def legend(comparison: Comparison) -> list[str]:
    """Return what the signs of the table mean."""
    found = ["* the best mean; ± the 95 % interval of the mean over n runs (Student's t), none for one run"]
    unknown = [metrics.of(tag).title for tag in comparison.metrics if metrics.of(tag).better == "unknown"]
    if unknown:
        found.append(f"{', '.join(unknown)}: which way is better is not known, so none is the best")
    if comparison.baseline is not None:
        found.append(
            f"against {comparison.baseline.words}: mean difference of n pairs that share all else, such as "
            "the seed (runs with one partner are one pair), and p of a paired t-test"
        )
    return found


def data(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the numbers of the table for other programs, a row for each group.

    `choices` by key; `name`; `n` and `diverged` runs; for each metric's tag `n`, `mean`, `std`, `half_width`
    (of the 95 % interval) and `best`, null where no run has it; with a baseline `difference`: `n` pairs,
    `mean`, `std`, `half_width` and `p`, null where there is no pair; the folders of `runs`.
    """
    found = []
    stars = {tag: winners(comparison.groups, tag) for tag in comparison.metrics}
    for number, group in enumerate(comparison.groups):
        row: dict[str, Any] = {"choices": dict(group.choices), "name": group.name, "n": len(group.records)}
        row["diverged"] = group.count("diverged")
        for tag in comparison.metrics:
            estimate = group.estimate(tag)
            row[tag] = None if estimate is None else vars(estimate) | {"best": stars[tag][number]}
        if comparison.baseline is not None:
            difference = comparison.baseline.difference(group, comparison.metrics[0])
            row["difference"] = (
                None if difference is None else vars(difference.estimate) | {"p": difference.p}
            )
        row["runs"] = [str(record.run.path) for record in group.records]
        found.append(row)
    return found


def count(group: Group) -> str:
    """Return the number of runs, and how many of them diverged."""
    diverged = group.count("diverged")
    return f"{len(group.records)}" + (f" ({diverged} diverged)" if diverged else "")


def estimated(found: Estimate | None, tag: str) -> str:
    """Return `mean ± half width`, both to the precision that the half width deserves."""
    if found is None:
        return "-"
    metric, half = metrics.of(tag), found.half_width
    if half is None:
        return metric.text(found.mean)
    return f"{metric.number(found.mean, half)} ± {metric.number(half, half)}{metric.suffix}"


def differs(found: Difference | None, tag: str) -> str:
    """Return `mean ± half width (n pairs, p)`."""
    if found is None:
        return "-"
    mean, half, metric = found.estimate.mean, found.estimate.half_width, metrics.of(tag)
    text = metric.number(mean, half or mean, sign="+")
    text += "" if half is None else f" ± {metric.number(half, half or mean)}"
    p = "" if found.p is None else ", p < 0.001" if found.p < SMALLEST_P else f", p = {found.p:.3f}"
    return f"{text}{metric.suffix} (n = {found.estimate.n}{p})"


def _plain(value: Any) -> str:
    return "null" if value is None else str(value)
