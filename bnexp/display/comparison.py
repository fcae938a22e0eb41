"""The table of `bnexp compare`, also as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console
from rich.markup import escape

from bnexp import metrics
from bnexp.analysis.groups import Baseline, Group, decimals, winners
from bnexp.analysis.naming import value_name
from bnexp.analysis.statistics import Difference, binomial_half_width, holm
from bnexp.display import columns
from bnexp.display.columns import Cell, visible
from bnexp.metrics import Metric

SMALLEST_P = 0.001
SIGNIFICANT = 0.05
MOST_NAMES = 6  # of configurations in a sentence
MARK = " *"  # of the best in a column


@dataclass(frozen=True)
class Comparison:
    """Groups as rows, the choices in which they differ and their metrics as columns.

    corrected: whether p is Holm's over the rows of a column.
    """

    groups: Sequence[Group]
    metrics: Sequence[str]
    baseline: Baseline | None = None
    notes: Sequence[str] = field(default_factory=list)
    corrected: bool = True

    def choices(self) -> list[str]:
        """Return the keys of the choices in which the groups differ."""
        return list(dict.fromkeys(key for group in self.groups for key in group.choices))

    def headers(self) -> list[str]:
        """Return the titles of the columns."""
        found = [*(self.choices() or ["runs of"]), "n"]
        for tag in self.metrics:
            found.append(f"{metrics.of(tag).title} ± 95 %")
            found += [] if self.baseline is None else [f"against {self.baseline.words}"]
        return found

    def rows(self) -> list[list[str]]:
        """Return the text of each cell; a star marks the best of a column."""
        keys = self.choices()
        choices = [[value_name(key, group.choices.get(key, "-")) for key in keys] for group in self.groups]
        names = [
            [*(named or [group.name]), count(group)]
            for group, named in zip(self.groups, choices, strict=True)
        ]
        cells = [column for tag in self.metrics for column in self._columns(tag)]
        return [[*name, *row] for name, row in zip(names, zip(*cells, strict=True), strict=True)]

    def _columns(self, tag: str) -> list[list[str]]:
        """Return the cells of a metric, and of its differences to the baseline."""
        places, stars = decimals(self.groups, tag), winners(self.groups, tag)
        means = [
            estimated(group, tag, places) + (MARK if star else "")
            for group, star in zip(self.groups, stars, strict=True)
        ]
        if self.baseline is None:
            return [means]
        return [means, differences(self.differences(tag), tag, corrected=self.corrected)]

    def differences(self, tag: str) -> list[Difference | None]:
        """Return how far each group lies from the baseline, with p also corrected over the groups."""
        if self.baseline is None:
            return [None] * len(self.groups)
        found = [self.baseline.difference(group, tag) for group in self.groups]
        corrected = holm([None if one is None else one.p for one in found])
        return [one and replace(one, holm=p) for one, p in zip(found, corrected, strict=True)]


def show(console: Console, comparison: Comparison) -> None:
    """Print the table, and what a reader of it must know."""
    headers, rows = comparison.headers(), comparison.rows()
    starred = {place for row in rows for place, cell in enumerate(row) if cell.endswith(MARK)}
    cells = [[_styled(cell, place in starred) for place, cell in enumerate(row)] for row in rows]
    numbers = range(len(comparison.choices()) or 1, len(headers))
    columns.show(console, headers, cells, right=numbers, narrow="records")
    for line in findings(comparison):
        console.print(escape(line), highlight=False, soft_wrap=True)
    for note in [*legend(comparison), *comparison.notes]:
        console.print(escape(note), highlight=False, style="dim", soft_wrap=True)


def _styled(cell: str, beside_stars: bool) -> Cell:
    """Numbers stand under each other with and without a star."""
    return (visible(cell), "bold") if cell.endswith(MARK) else visible(cell) + "  " * beside_stars


def markdown(comparison: Comparison) -> str:
    """Return the table in Markdown."""
    lines = [comparison.headers(), ["---"] * len(comparison.headers()), *comparison.rows()]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    # A note that begins with the sign it explains would begin a list.
    notes = [
        f"- {chr(92) if note[0] == '*' else ''}{note}" for note in [*legend(comparison), *comparison.notes]
    ]
    return "\n".join([table, "", *notes])


def findings(comparison: Comparison) -> list[str]:
    """Return, metric by metric, which configurations differ from the baseline and which are not found to."""
    if comparison.baseline is None:
        return []
    told = []
    for tag in comparison.metrics:
        named: dict[str, list[str]] = {"differs": [], "does not": [], "not tested": []}
        for group, found in zip(comparison.groups, comparison.differences(tag), strict=True):
            if found is not None:
                p = found.holm if comparison.corrected else found.p
                verdict = "not tested" if p is None else "differs" if p < SIGNIFICANT else "does not"
                named[verdict].append(group.name)
        told += [_finding(metrics.of(tag).title, named, comparison)] if any(named.values()) else []
    return told or [f"No run has a counterpart in {comparison.baseline.words}: there are no differences."]


def _finding(title: str, named: Mapping[str, Sequence[str]], comparison: Comparison) -> str:
    assert comparison.baseline is not None
    how = "corrected for their number" if comparison.corrected else "not corrected for their number"
    differ, same, untested = named.values()
    tested = len(differ) + len(same)
    parts = []
    if tested:
        parts.append(
            f"{len(differ)} of {tested} configurations differ from {comparison.baseline.words} with "
            f"p < {SIGNIFICANT} ({how})" + (f": {_named(differ)}" if differ else "")
        )
    if differ and same:
        parts.append(f"no difference was found for {_named(same)}")
    if untested:
        parts.append(f"{_named(untested)}: not tested, which takes two pairs and none of them lost")
    return f"{title[0].upper()}{title[1:]}: {'; '.join(parts)}."


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return "; ".join(names[:MOST_NAMES]) + more


def legend(comparison: Comparison) -> list[str]:
    """Return what the signs of the table mean."""
    found = [
        "* the best mean; ± the 95 % interval of the mean over n runs (Student's t, and no spread below "
        "that of rounding to whole examples or float32), none for one run",
        *_own_error(comparison),
    ]
    if any(not group.is_complete(tag) for group in comparison.groups for tag in comparison.metrics):
        found.append(
            "(n of all): the mean of the runs that have the metric and did not diverge; no star and no p"
        )
    unknown = [metrics.of(tag).title for tag in comparison.metrics if metrics.of(tag).better == "unknown"]
    if unknown:
        found.append(f"{', '.join(unknown)}: which way is better is not known, so none is the best")
    if comparison.baseline is not None:
        how = "as it is"
        if comparison.corrected:
            how = "by Holm for the rows of its column together (--uncorrected: alone, as the ± is)"
        found.append(
            f"against {comparison.baseline.words}: mean difference of n pairs that share all else, such as "
            f"the seed (runs with one partner are one pair), and p of a paired t-test, {how}"
        )
    return found


def _own_error(comparison: Comparison) -> list[str]:
    """Say what the examples of a split would let a share vary by, which no number of seeds makes less."""
    for tag in comparison.metrics:
        known = [
            (value, size)
            for group in comparison.groups
            for record in group.records
            if (value := record.metric(tag)) is not None and (size := record.examples(tag)) is not None
        ]
        if metrics.of(tag).is_share and known:
            metric, (share, size) = metrics.of(tag), max(known)
            half = metric.number(binomial_half_width(share, size))
            return [
                "± is over seeds alone; what other examples would have given is apart: the 95 % interval of "
                f"{metric.title} {metric.number(share)} on {size:,} examples is ± {half} (binomial)"
            ]
    return []


def data(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the numbers of the table for other programs, a row for each group.

    `choices` by key; `name`; `n` and `diverged` runs; for each metric's tag `n`, `mean`, `std`, `half_width`
    (of the 95 % interval) and `best`, null where no run has it; with a baseline `difference` by tag: `n` and
    `lost` pairs, `mean`, `std`, `half_width`, `p` and `p_holm`, null where there is no pair; the folders of
    `runs`.
    """
    stars = {tag: winners(comparison.groups, tag) for tag in comparison.metrics}
    apart = {tag: comparison.differences(tag) for tag in comparison.metrics}
    found = []
    for number, group in enumerate(comparison.groups):
        row: dict[str, Any] = {"choices": dict(group.choices), "name": group.name, "n": len(group.records)}
        row["diverged"] = group.count("diverged")
        for tag in comparison.metrics:
            estimate = group.estimate(tag)
            row[tag] = None if estimate is None else vars(estimate) | {"best": stars[tag][number]}
        if comparison.baseline is not None:
            row["difference"] = {tag: _numbers(apart[tag][number]) for tag in comparison.metrics}
        row["runs"] = [str(record.run.path) for record in group.records]
        found.append(row)
    return found


def _numbers(found: Difference | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return vars(found.estimate) | {"lost": found.lost, "p": found.p, "p_holm": found.holm}


def count(group: Group) -> str:
    """Return the number of runs, and how many of them diverged."""
    diverged = group.count("diverged")
    return f"{len(group.records)}" + (f" ({diverged} diverged)" if diverged else "")


def estimated(group: Group, tag: str, places: int | None = None) -> str:
    """Return `mean ± half width` to the precision that the half width deserves, and of how many runs it is
    where that is not all.

    Args:
        places: decimals, those of a whole column.
    """
    found, metric = group.estimate(tag), metrics.of(tag)
    if found is None:
        return "-"
    half = found.half_width
    text = metric.number(found.mean, half, decimals=places)
    text += "" if half is None else f" ± {metric.number(half, half, decimals=places)}"
    total = len(group.records)
    return text + metric.suffix + ("" if found.n == total else f" ({found.n} of {total})")


def differences(found: Sequence[Difference | None], tag: str, *, corrected: bool) -> list[str]:
    """Return `mean ± half width (n pairs, p)` of each, all with the same decimals."""
    metric = metrics.of(tag)
    known = [one.estimate for one in found if one is not None]
    digits = [metric.digits(one.mean, one.half_width or one.mean) for one in known]
    places = max([digit for digit in digits if digit <= metrics.MOST_DECIMALS], default=metric.decimals)
    return ["-" if one is None else _difference(one, metric, places, corrected=corrected) for one in found]


def _difference(found: Difference, metric: Metric, places: int, *, corrected: bool) -> str:
    mean, half, n = found.estimate.mean, found.estimate.half_width, found.estimate.n
    text = metric.number(mean, sign="+", decimals=places)
    text += "" if half is None else f" ± {metric.number(half, decimals=places)}"
    p = found.holm if corrected else found.p
    remarks = [f"n = {n}" + (f" of {n + found.lost}" if found.lost else "")]
    if p is not None:
        remarks.append(f"p < {SMALLEST_P}" if p < SMALLEST_P else f"p = {p:.3f}")
    return text + metric.suffix + f" ({', '.join(remarks)})"
