"""The table of `bnexp runs`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bnexp.runs.naming import headlines
from bnexp.runs.records import Record

COLORS = {"failed": "red", "broken": "red", "diverged": "yellow", "interrupted": "yellow", "running": "cyan"}
LONGEST = 4 * 10**4  # letters: whatever reads a pipe gets whole lines


def wide_console() -> Console:
    """Return a console that cuts no line where no terminal has a width."""
    console = Console()
    return console if console.is_terminal else Console(width=LONGEST)


def show(console: Console, records: Sequence[Record]) -> None:
    """Print a line for each run: where it is, how it stands, in which choices it differs, its accuracy."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", overflow="fold")
    table.add_column("status")
    table.add_column("choices", overflow="fold")
    for header in ("accuracy", "age", "seconds"):
        table.add_column(header, justify="right")
    for record, choices in zip(records, headlines([record.config for record in records]), strict=True):
        color = COLORS.get(record.status)
        table.add_row(
            escape(f"{record.experiment}/{record.name}"),
            f"[{color}]{record.status}[/]" if color else record.status,
            escape(choices if record.problem is None else record.problem),
            best(record),
            age(record.age_s),
            "" if (seconds := record.metric("seconds")) is None else f"{seconds:.1f}",
        )
    console.print(table, highlight=False)


def best(record: Record) -> str:
    """Return the accuracy on the test split, or what is known before that."""
    test, val = record.metric("accuracy/test"), record.metric("accuracy/val")
    return f"{test:.4f}" if test is not None else "" if val is None else f"{val:.4f} (val)"


def age(seconds: float) -> str:
    """Return a span of time as people say it: `12 s`, `5 min`, `3 h`, `9 d`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
