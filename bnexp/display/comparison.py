"""The table of `bnexp compare`, also as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bnexp.runs.groups import Baseline, Group, best
from bnexp.runs.statistics import Difference, Estimate

SMALLEST_P = 0.001
NAMES = {
    "accuracy/test": "test accuracy",
    "loss/test": "test loss",
    "seconds": "seconds",
    "step_time_ms": "ms a step",
    "peak_memory_bytes": "peak memory",
}


@dataclass(frozen=True)
class Comparison:
    """Groups as rows, the choices in which they differ and their metrics as columns."""

    groups: Sequence[Group]
    metrics: Sequence[str]
    baseline: Baseline | None = None
    notes: Sequence[str] = field(default_factory=list)

    def headers(self) -> list[str]:
        """Return the titles of the columns."""
        found = [*(self.groups[0].choices or ["runs of"]), "n"]
        found += [f"{NAMES.get(tag, tag)} ± 95 %" for tag in self.metrics]
        return found + (
            [f"{NAMES.get(self.metrics[0], self.metrics[0])} - baseline"] if self.baseline else []
        )

    def rows(self) -> list[list[str]]:
        """Return the text of each cell; a star marks the best of a column."""
        winners = {tag: best(self.groups, tag) for tag in self.metrics}
        return [self._row(group, winners) for group in self.groups]

    def _row(self, group: Group, winners: dict[str, Group | None]) -> list[str]:
        choices = [_plain(value) for value in group.choices.values()] or [group.name]
        found = [*choices, count(group)]
        for tag in self.metrics:
            text = estimated(group.estimate(tag), tag)
            found.append(f"{text} *" if winners[tag] is group else text)
        if self.baseline is not None:
            found.append(differs(self.baseline.difference(group, self.metrics[0]), self.metrics[0]))
        return found


def show(console: Console, comparison: Comparison) -> None:
    """Print the table, and what a reader of it must know."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    words = len(comparison.groups[0].choices) or 1
    for number, header in enumerate(comparison.headers()):
        table.add_column(header, justify="left" if number < words else "right")
    for row in comparison.rows():
        table.add_row(*(f"[bold]{escape(cell)}[/]" if cell.endswith(" *") else escape(cell) for cell in row))
    console.print(table, highlight=False)
    for note in [*legend(comparison), *comparison.notes]:
        console.print(escape(note), highlight=False, style="dim", soft_wrap=True)


def markdown(comparison: Comparison) -> str:
    """Return the table in Markdown."""
    lines = [comparison.headers(), ["---"] * len(comparison.headers()), *comparison.rows()]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    # A note that begins with the sign it explains would begin a list.
    notes = [
        f"- {chr(92) if note[0] in '*-' else ''}{note}" for note in [*legend(comparison), *comparison.notes]
    ]
    return "\n".join([table, "", *notes])


def legend(comparison: Comparison) -> list[str]:
    """Return what the signs of the table mean."""
    found = ["* the best mean; ± the 95 % interval of the mean over n runs (Student's t), none for one run"]
    if comparison.baseline is not None:
        found.append(
            "- baseline: mean difference of pairs that share all else, such as the seed; p of a paired t-test"
        )
    return found


def data(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the numbers of the table for other programs."""
    found = []
    for group in comparison.groups:
        row: dict[str, Any] = {"choices": dict(group.choices), "name": group.name, "n": len(group.records)}
        row["diverged"] = group.count("diverged")
        for tag in comparison.metrics:
            estimate = group.estimate(tag)
            row[tag] = (
                None if estimate is None else vars(estimate) | {"best": best(comparison.groups, tag) is group}
            )
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
    scale = 2**20 if tag.endswith("_bytes") else 1
    unit = " MiB" if tag.endswith("_bytes") else ""
    mean, half = found.mean / scale, None if found.half_width is None else found.half_width / scale
    digits = _digits(mean if half is None else half, tag)
    return f"{mean:.{digits}f}" + ("" if half is None else f" ± {half:.{digits}f}") + unit


def differs(found: Difference | None, tag: str) -> str:
    """Return `mean ± half width (n pairs, p)`."""
    if found is None:
        return "-"
    estimate = found.estimate
    digits = _digits(estimate.half_width or estimate.mean, tag)
    half = "" if estimate.half_width is None else f" ± {estimate.half_width:.{digits}f}"
    p = "" if found.p is None else ", p < 0.001" if found.p < SMALLEST_P else f", p = {found.p:.3f}"
    return f"{estimate.mean:+.{digits}f}{half} (n = {estimate.n}{p})"


def _digits(value: float, tag: str) -> int:
    """Two significant digits of `value`; four decimals at least for shares and losses, none below 4."""
    least = 4 if tag.startswith(("accuracy", "loss")) else 1
    if value == 0 or not math.isfinite(value):
        return least
    return min(6, max(least, 1 - math.floor(math.log10(abs(value)))))


def _plain(value: Any) -> str:
    return "null" if value is None else str(value)
