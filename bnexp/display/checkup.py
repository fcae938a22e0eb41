"""The table of `bnexp doctor`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bnexp.preflight.course import Course, Row

COLUMNS = (
    "place",
    "norm",
    "channels",
    "size",
    "values a channel",
    "in the last batch",
    "parameters",
    "half-life",
    "start at the end",
)


def show(console: Console, course: Course, rows: Sequence[Row]) -> None:
    """Print the length of the run, and a row for each norm."""
    passes = f", {course.passes:,} forward passes" if course.passes != course.steps else ""
    last = f", {course.last:,} in the last of an epoch" if course.last != course.full else ""
    length = f"{course.steps:,} steps{passes} of {course.full:,} examples{last}"
    table = Table(title=f"Norms over {length}", title_justify="left", box=None, pad_edge=False)
    for header in COLUMNS:
        table.add_column(header, justify="left" if header in ("place", "norm") else "right")
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)
    console.print(
        "half-life: updates after which a batch weighs half in the running averages; "
        "start at the end: what mean 0 and variance 1 then still weigh",
        highlight=False,
        style="dim",
    )


def _cells(row: Row) -> list[str]:
    return [
        escape(row.place),
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
