"""What a run left, read back: its configuration and the scalars that it logged."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from bnexp.errors import CheckpointError
from bnexp.runs.directory import RunDirectory

LOADER = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # the former where libyaml is there: seven times as fast


@dataclass(frozen=True)
class Series:
    """One scalar over a run: `values` float64 at `steps` int64, both (rows,); null is not-a-number."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)


def read_metrics(run: RunDirectory) -> dict[str, Series]:
    """Return the scalars of metrics.jsonl, by tag in the order in which they appear; none without the file.

    A last line torn by a kill is left out.

    Raises:
        CheckpointError: another line is no row of metrics.
    """
    try:
        lines = run.metrics_file.read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CheckpointError(f"{run.metrics_file} cannot be read ({error.strerror})") from error
    rows = [_row(line) for line in lines]
    if rows and rows[-1] is None:
        rows.pop()
    columns: dict[str, dict[int, float]] = {}
    for number, row in enumerate(rows, start=1):
        if row is None:
            raise CheckpointError(
                f"{run.metrics_file} line {number} must be a row of metrics: delete that line"
            )
        step = row.pop("step")
        for tag, value in row.items():
            columns.setdefault(tag, {})[step] = math.nan if value is None else float(value)
    return {tag: _series(column) for tag, column in columns.items()}


def read_config(run: RunDirectory) -> dict[str, Any]:
    """Return the resolved configuration.

    Raises:
        CheckpointError: config.yaml is missing or damaged.
    """
    try:
        config = yaml.load(run.config_file.read_bytes(), Loader=LOADER)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{run.config_file} cannot be read ({reason})") from error
    if not isinstance(config, dict) or "norm" not in config:
        raise CheckpointError(f"{run.config_file} must hold the configuration of a run, and does not")
    return config


def leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings under dotted keys, in order."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or not isinstance(row.get("step"), int):
        return None
    return row if all(value is None or isinstance(value, (int, float)) for value in row.values()) else None


def _series(column: dict[int, float]) -> Series:
    steps = sorted(column)
    return Series(
        np.asarray(steps, dtype=np.int64), np.asarray([column[step] for step in steps], dtype=np.float64)
    )
