"""`bnexp diff`: what two runs do not share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from bnexp.analysis.query import select
from bnexp.analysis.records import ABSENT, Record
from bnexp.display.columns import wide_console
from bnexp.display.export import Form, write
from bnexp.errors import CheckpointError
from bnexp.runs.identity import config_hash
from bnexp.runs.reading import leaves
from bnexp.shorthand import SHORTHANDS

CODE = ("git_commit", "git_dirty", "command", "device", "host", "cpu", "platform", "threads")
PARTS = ("configuration", "versions", "code and machine", "metrics")
NOT_METRICS = ("config", "versions", "config_hash", "diverged", *CODE)


def diff(first: str, second: str, *, runs_dir: str, form: Form) -> None:
    """Print a line for everything that differs between two runs: configuration, versions, code, metrics.

    Raises:
        CheckpointError: a reference that does not mean one run with a configuration.
    """
    one, other = (_the_run(word, runs_dir) for word in (first, second))
    rows = differences(one, other)
    if form.wanted():
        write([{key: None if cell is ABSENT else cell for key, cell in row.items()} for row in rows], form)
        return
    console = wide_console()
    same = config_hash(one.config) == config_hash(other.config)
    told = "the same computation" if same else f"{len(rows)} difference{'s'[: len(rows) != 1]}"
    console.print(f"A {escape(str(one.run.path))}\nB {escape(str(other.run.path))}\n{told}", highlight=False)
    for part in PARTS:
        if found := [row for row in rows if row["part"] == part]:
            console.print(_table(part, found), highlight=False)


def differences(one: Record, other: Record) -> list[dict[str, Any]]:
    """Return `part`, `key`, `A` and `B` for each key in which two runs differ, and `B - A` of numbers.

    What a run does not have is ABSENT.
    """
    parts = dict(zip(PARTS, zip(_parts(one), _parts(other), strict=True), strict=True))
    found = []
    for part, (a, b) in parts.items():
        for key in dict.fromkeys([*a, *b]):
            if key not in a or key not in b or a[key] != b[key]:
                found.append(_row(part, key, a.get(key, ABSENT), b.get(key, ABSENT)))
    return found


def _the_run(word: str, runs_dir: str) -> Record:
    records = select([word], Path(runs_dir))
    if len(records) != 1:
        raise CheckpointError(f"diff compares two runs, {word} means {len(records)}: name one")
    (record,) = records
    if record.problem is not None:
        raise CheckpointError(record.problem)
    return record


def _parts(record: Record) -> tuple[dict[str, Any], ...]:
    result, versions = record.result, record.result.get("versions")
    metrics = {"status": record.status} | {key: result[key] for key in result if key not in NOT_METRICS}
    code = {key: result.get(key) for key in CODE}
    told = [leaf for leaf in leaves(record.config) if leaf[0] not in SHORTHANDS]  # their norms say the same
    config = dict(sorted(told, key=lambda leaf: not leaf[0].startswith("choices.")))
    return config, versions if isinstance(versions, dict) else {}, code, metrics


def _row(part: str, key: str, a: Any, b: Any) -> dict[str, Any]:
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (a, b))
    return {"part": part, "key": key, "A": a, "B": b, "B - A": b - a if numbers else None}


def _table(part: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=part, title_justify="left", box=None, pad_edge=False, header_style="bold")
    numbers = any(row["B - A"] is not None for row in rows)
    for header in ("key", "A", "B", *(["B - A"] if numbers else [])):
        table.add_column(header, overflow="fold", justify="right" if header == "B - A" else "left")
    for row in rows:
        cells = [row["key"], _shown(row["A"]), _shown(row["B"])]
        if numbers:
            cells.append("" if row["B - A"] is None else f"{row['B - A']:+.6g}")
        table.add_row(*map(escape, cells))
    return table


def _shown(value: Any) -> str:
    if value is ABSENT or value is None:
        return "null" if value is None else "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
