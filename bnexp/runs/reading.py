"""What a run left, read back: its configuration and the scalars that it logged."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeGuard

import yaml

from bnexp import plain_files
from bnexp.compatibility import completed
from bnexp.errors import CheckpointError
from bnexp.runs.directory import RunDirectory
from bnexp.shorthand import as_norms_have

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENTRY = re.compile(r"^(?=\w+:\s)", re.MULTILINE)  # where an entry of a mapping at the left margin begins
KINDS: Mapping[str, type | tuple[type, ...]] = {
    "norm": dict,
    "head_norm": (dict, type(None)),
    "choices": (dict, type(None)),
    "freeze_norm": (dict, type(None)),
    "batch_size": int,
    "norm_batch": (int, type(None)),
}


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
        lines = plain_files.read_bytes(run.metrics_file).splitlines()
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
    """Return the resolved configuration, which is to be read only: runs share equal parts of theirs.

    It is as `as_of_now` tells it.

    Raises:
        CheckpointError: config.yaml is missing or damaged.
    """
    try:
        config = _from_yaml(plain_files.read_text(run.config_file))
    except OSError as error:
        raise CheckpointError(f"{run.config_file} cannot be read ({error.strerror})") from error
    except (TypeError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{run.config_file} cannot be read ({reason})") from error
    if not is_config(config):
        raise CheckpointError(f"{run.config_file} must hold the configuration of a run, and does not")
    return as_of_now(config)


def as_of_now(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded configuration as this version would have recorded it.

    Knobs that came later are there, as before; `momentum` and `eps` are those that the norm has.
    """
    return as_norms_have(completed(config))


def is_config(found: Any) -> TypeGuard[dict[str, Any]]:
    """Whether this is a configuration as far as readers rely on it."""
    if not isinstance(found, dict) or "norm" not in found:
        return False
    if not all(isinstance(found[key], kind) for key, kind in KINDS.items() if key in found):
        return False
    return all(option is None or isinstance(option, str) for option in (found.get("choices") or {}).values())


def leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings under dotted keys, in order."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _from_yaml(text: str) -> Any:
    """Read entry by entry, since many runs have most entries in common; as a whole what has no entries."""
    before, *entries = ENTRY.split(text)
    try:
        if not before:
            return dict(_entry(entry) for entry in entries)
    except (TypeError, ValueError, yaml.YAMLError):
        pass
    return plain_files.from_yaml(text)


@lru_cache(maxsize=4096)
def _entry(text: str) -> tuple[str, Any]:
    found = plain_files.from_yaml(text)
    if not isinstance(found, dict) or len(found) != 1:
        raise ValueError("no entry of a mapping")
    return next(iter(found.items()))


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or not isinstance(row.get("step"), int):
        return None
    return row if all(value is None or isinstance(value, (int, float)) for value in row.values()) else None


def _series(column: dict[int, float]) -> Series:
    # Here and not above: a third of the time of a list of runs, which needs none.
    import numpy as np

    steps = sorted(column)
    return Series(
        np.asarray(steps, dtype=np.int64), np.asarray([column[step] for step in steps], dtype=np.float64)
    )
