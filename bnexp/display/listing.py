"""The table of `bnexp runs`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from bnexp import metrics
from bnexp.analysis.naming import headlines
from bnexp.analysis.records import Record
from bnexp.display import columns
from bnexp.display.columns import Row, visible
from bnexp.statuses import color

HEADERS = ("run", "status", "choices", metrics.of("accuracy").title, "age", metrics.of("seconds").title)


def show(console: Console, records: Sequence[Record]) -> None:
    """Print a line for each run: where it is, how it stands, in which choices it differs, its accuracy."""
    names = headlines([record.config for record in records])
    rows = [_row(record, choices) for record, choices in zip(records, names, strict=True)]
    columns.show(console, HEADERS, rows, right=(3, 4, 5), narrow="names")


def _row(record: Record, choices: str) -> Row:
    name = visible(f"{record.experiment}/{record.name}")
    status = (record.status, color(record.status))
    if record.problem is not None:
        return [name, status, visible(record.problem.replace(f"{record.run.path}/", ""))]
    seconds = record.metric("seconds")
    return [
        name,
        status,
        visible(choices),
        best(record),
        age(record.age_s),
        "" if seconds is None else metrics.of("seconds").text(seconds),
    ]


def best(record: Record) -> str:
    """Return the accuracy on the test split, or what is known before that."""
    test, val = record.metric("accuracy/test"), record.metric("accuracy/val")
    text = metrics.of("accuracy").text
    return text(test) if test is not None else "" if val is None else f"{text(val)} (val)"


def age(seconds: float) -> str:
    """Return a span of time as people say it: `12 s`, `5 min`, `3 h`, `9 d`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
