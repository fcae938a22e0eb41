"""Trial files: a table of runs instead of a grid, for knobs that belong together.

.csv           a header of keys, a row a run; an empty cell leaves the key to the other words
.yaml, .json   a list of mappings KEY: VALUE, or of lists of words
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bnexp.errors import ConfigError

KINDS = (".csv", ".yaml", ".yml", ".json")


def read(path: Path) -> list[list[str]]:
    """Return the words of each trial.

    Raises:
        ConfigError: another kind of file, one that cannot be read, or one without trials.
    """
    if path.suffix not in KINDS:
        raise ConfigError(f"--trials must be a {', '.join(KINDS)} file, got {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = _table(text) if path.suffix == ".csv" else yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"--trials {path} cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, yaml.YAMLError, csv.Error) as error:
        raise ConfigError(f"--trials {path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(rows, list) or not rows:
        raise ConfigError(f"--trials {path} must list at least one trial")
    return [_words(path, number, row) for number, row in enumerate(rows, start=1)]


def _table(text: str) -> list[dict[str, Any]]:
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True, strict=True)
    return [{key: cell for key, cell in row.items() if cell not in (None, "")} for row in rows]


def _words(path: Path, number: int, row: Any) -> list[str]:
    if isinstance(row, Mapping) and None not in row:
        return [f"{key}={_value(value)}" for key, value in row.items()]
    if isinstance(row, list) and all(isinstance(word, str) and "=" in word for word in row):
        return row
    raise ConfigError(f"--trials {path}, trial {number} must map keys to values or list words, got {row!r}")


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
