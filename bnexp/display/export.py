"""Rows of numbers for other programs: JSON, or CSV with one column a key."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from bnexp import atomic
from bnexp.errors import ConfigError, unwritable
from bnexp.runs.directory import finite
from bnexp.runs.reading import leaves


@dataclass(frozen=True)
class Form:
    """What a person asked for instead of a table: JSON, or a CSV file (`-` is the terminal)."""

    json: bool = False
    csv: str | None = None

    def __post_init__(self) -> None:
        if self.json and self.csv is not None:
            raise ConfigError("give --json or --csv, not both")

    def wanted(self) -> bool:
        return self.json or self.csv is not None


def write_one(row: Mapping[str, Any], form: Form) -> None:
    """Write one row as `write` does, in JSON without a list around it, indented.

    Raises:
        ConfigError, StorageError: the CSV file cannot be written.
    """
    if form.json:
        print(json.dumps(finite(row), indent=1, allow_nan=False))
    else:
        write([row], form)


def write(rows: Sequence[Mapping[str, Any]], form: Form) -> None:
    """Write `rows` in the form asked for; in CSV nested values stand under dotted keys.

    Raises:
        ConfigError: the CSV file cannot be written.
    """
    if form.json:
        print(_json(rows))
    elif form.csv == "-":
        _table(rows, sys.stdout)
    elif form.csv is not None:
        text = io.StringIO()
        _table(rows, text)
        try:
            atomic.write(
                atomic.target(Path(form.csv)),
                lambda file: file.write(text.getvalue().encode(errors="backslashreplace")),
            )
        except OSError as error:
            told = f"--csv {form.csv} cannot be written ({error.strerror})"
            raise unwritable(form.csv, error, told) from error


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    """One row a line: C writes it, ten times as fast as with an indent, and `grep` and `head` read it."""
    return "[\n" + ",\n".join(map(_line, rows)) + "\n]"


def _line(row: Mapping[str, Any]) -> str:
    try:
        return json.dumps(row, allow_nan=False)
    except ValueError:
        return json.dumps(finite(row), allow_nan=False)


def _table(rows: Sequence[Mapping[str, Any]], file: TextIO) -> None:
    flat = [{key: _cell(value) for key, value in leaves(finite(row))} for row in rows]
    keys = dict.fromkeys(key for row in flat for key in row)
    nodes = {key[:place] for key in keys for place, letter in enumerate(key) if letter == "."}
    # What is null in one row and has keys of its own in others needs no column.
    columns = [key for key in keys if key not in nodes]
    if not columns:
        return
    writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value
