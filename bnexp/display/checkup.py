"""The table of `bnexp doctor`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from bnexp.display import columns
from bnexp.preflight.course import Course, Row

HEADERS = ("place", "norm", "channels", "size", "values", "last", "parameters", "half-life", "start")
LEGEND = (
    "values, last: what a channel is measured over, at least, in a full batch and in the last of an epoch",
    "half-life: updates after which a batch weighs half in the running averages",
    "start: what mean 0 and variance 1, the averages' start, weigh in them at the end",
)


def show(console: Console, course: Course, rows: Sequence[Row]) -> None:
    """Print the length of the run, and a row for each norm."""
    passes = f", {course.passes:,} forward passes" if course.passes != course.steps else ""
    last = f", {course.last:,} in the last of an epoch" if course.last != course.full else ""
    length = f"{course.steps:,} steps{passes} of {course.full:,} examples{last}"
    console.print(f"Norms over {length}", highlight=False, style="italic", soft_wrap=True)
    numbers = range(2, len(HEADERS))
    columns.show(console, HEADERS, [_cells(row) for row in rows], right=numbers, narrow="names")
    for line in LEGEND:
        console.print(line, highlight=False, style="dim", soft_wrap=True)


def _cells(row: Row) -> list[str]:
    return [
        row.place,
        row.norm,
        str(row.channels),
        "x".join(map(str, row.spatial)) or "-",
        f"{row.values_per_channel:,}",
        f"{row.values_per_channel_last:,}",
        f"{row.parameters:,}",
        "-" if row.half_life_steps is None else f"{row.half_life_steps:,.1f} steps",
        _share(row.initial_share),
    ]


def _share(share: float | None) -> str:
    if share is None:
        return "-"
    return "< 0.01 %" if share < 1e-4 else f"{100 * share:.2g} %"
