"""Trial files: a table of runs in place of a grid, as people's programs write them."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bnexp.choices import GROUPS, conf_dirs, contents
from bnexp.composition.mistakes import schema_hint
from bnexp.composition.words import quoted
from bnexp.errors import ConfigError

TRIAL_FILES = (".csv", ".tsv", ".txt", ".yaml", ".yml", ".json")
SEPARATORS = ",;\t|"
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
LARGEST = 10**7  # bytes
MOST_ALIASES = 100  # aliases of aliases could stand for more than memory holds
INDEX = re.compile(r"|Unnamed: \d+|index")  # what tables call a column that only counts the rows
NUMBER = re.compile(r"[-+]?\d+,\d+([eE][-+]?\d+)?")
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")
PLAIN = re.compile(r"[\w.+/-]+")
WHOLE = re.compile(r"([-+]?\d+)\.0+")


def read_trials(path: Path) -> list[list[str]]:
    """Return the words of each trial.

    .csv, .tsv, .txt   a header of keys, a row a run; comma, semicolon, tab or | between cells. An empty cell
                       leaves the key to the other words. A column without a name that counts rows is left out
    .yaml, .json       a list of mappings KEY: VALUE, or of lists of words

    Raises:
        ConfigError: another kind of file, one that cannot be read, one without trials, or a trial that says
            nothing.
    """
    try:
        if path.suffix not in TRIAL_FILES:
            raise ConfigError(f"must be a {', '.join(TRIAL_FILES)} file")
        text = _text(path)
        if path.suffix in (".csv", ".tsv", ".txt"):
            trials = [_row(number, row) for number, row in _table(text)]
        elif path.suffix == ".json":
            trials = [_trial(number, row) for number, row in enumerate(_listed(_json(text)), start=1)]
        else:
            trials = [_trial(number, row) for number, row in enumerate(_listed(_yaml(text)), start=1)]
        if not trials:
            raise ConfigError("must list at least one trial")
    except ConfigError as error:
        raise ConfigError([f"--trials {path}: {line}" for line in error.problems]) from error
    return trials


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise ConfigError("must be a file" if path.exists() else "there is no such file")
        if path.stat().st_size > LARGEST:
            raise ConfigError(f"must be a table of runs of at most {LARGEST:,} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})") from error
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        # Spreadsheets of older Windows; keys and choices are ASCII in every encoding that it could be.
        text = content.decode("cp1252", errors="replace")
    if "\0" in text:
        raise ConfigError("must be text; save it as UTF-8")
    return text


def _table(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number and the cells of each row under its header, empty ones too."""
    lines = [line for line in text.splitlines() if line.strip()]
    named = re.fullmatch(r"sep=(.)", lines[0].strip(), re.IGNORECASE) if lines else None  # Excel's own line
    lines = lines[1:] if named else lines
    separator = named[1] if named else max(SEPARATORS, key="".join(lines[:1]).count)  # no key holds one
    try:
        read = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
        header, *rows = [[cell.strip() for cell in row] for row in read] or [[]]
    except csv.Error as error:
        raise ConfigError(f"cannot be read: {error}") from error
    width = len(header)
    for number, row in enumerate(rows, start=1):
        if any(row[width:]):
            raise ConfigError(f"row {number} has {len(row)} cells, but the header has {width} keys")
    table = [[*row, *[""] * width][:width] for row in rows]
    columns = {place: [row[place] for row in table] for place in range(width)}
    kept = {place: header[place] for place in columns if not _counts(header[place], columns[place])}
    names = list(kept.values())
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ConfigError(f"each key may head one column, got {', '.join(twice)} again")
    if "" in names:
        raise ConfigError(f"column {header.index('') + 1} has no key above it: write KEY in its first row")
    for number, row in enumerate(table, start=1):
        yield number, {name: _decimal(number, row[place], separator) for place, name in kept.items()}


def _counts(name: str, cells: Sequence[str]) -> bool:
    """Whether a column only counts the rows, as pandas writes it, or is empty, as spreadsheets leave it."""
    if not name and not any(cells):
        return True
    counted = [[str(number + first) for number in range(len(cells))] for first in (0, 1)]
    return INDEX.fullmatch(name) is not None and list(cells) in counted


def _decimal(row: int, cell: str, separator: str) -> str:
    """Return a cell with a point for a decimal comma, which only a table with other separators can have."""
    if separator == "," or not NUMBER.fullmatch(cell):
        return cell
    if THOUSANDS.fullmatch(cell):
        plain, point = cell.replace(",", ""), cell.replace(",", ".")
        raise ConfigError(f"row {row}: {cell} may mean {plain} or {point}: write one of them")
    return cell.replace(",", ".")


def _row(number: int, cells: Mapping[str, str]) -> list[str]:
    if not any(cells.values()):
        raise ConfigError(f"row {number} is empty: it would train the defaults; delete it")
    if lists := [f"{name}={cell}" for name, cell in cells.items() if _is_list(cell)]:
        raise ConfigError(f"row {number}: {lists[0]} lists several values: write a row for each")
    return [f"{name}={_whole(name, cell)}" for name, cell in cells.items() if cell]


def _is_list(cell: str) -> bool:
    """Whether a word of this value would be a list of values."""
    return "," in re.sub(r"\[[^][]*\]|\{[^{}]*\}|'[^']*'|\"[^\"]*\"", "", cell)


def _whole(name: str, cell: str) -> str:
    """Return a whole number without the `.0` that tables write behind it, where the knob takes no others."""
    found = WHOLE.fullmatch(cell)
    return found[1] if found and _takes_whole_numbers(name) else cell


def _takes_whole_numbers(name: str) -> bool:
    hint = schema_hint(name)
    if hint is not None:
        return "int" in str(hint) and "float" not in str(hint)
    group, _, knob = name.partition(".")
    if group not in GROUPS:
        return False
    values = [node[knob] for node in contents(group, conf_dirs()) if knob in node]
    fractions = (isinstance(value, (bool, float)) or str(value).startswith("${") for value in values)
    return bool(values) and not any(fractions)


def _listed(rows: Any) -> list[Any]:
    if not isinstance(rows, list):
        raise ConfigError("must list trials: mappings KEY: VALUE, or lists of words")
    return rows


def _trial(number: int, row: Any) -> list[str]:
    try:
        if isinstance(row, dict) and row:
            return [f"{name}={_written(value)}" for name, value in row.items()]
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"trial {number}: a value must be one, or a list of some: {error}") from error
    if isinstance(row, list) and row and all(isinstance(word, str) and "=" in word for word in row):
        return [str(word) for word in row]
    raise ConfigError(f"trial {number} must map keys to values or list words, and hold at least one")


def _written(value: Any) -> str:
    """Return one value as a word has it; whatever a string holds, it is one value."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{name}:{_written(each)}' for name, each in value.items())}}}"
    if not isinstance(value, str):
        raise ValueError(f"got {type(value).__name__}")
    return value if PLAIN.fullmatch(value) or value.startswith("${") else quoted(value)


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"cannot be read: {str(error).splitlines()[0]}") from error


class _AsTyped(yaml.SafeLoader):
    """Keeps numbers as they are written, so that they mean what they mean on a command line."""


def _typed(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(node.value)


def _null(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> None:
    if node.value == "":
        line = node.start_mark.line + 1
        raise ConfigError(f"line {line} has a key without a value: write null if that is meant")


for _tag in ("int", "float", "bool", "timestamp"):
    _AsTyped.add_constructor(f"tag:yaml.org,2002:{_tag}", _typed)
_AsTyped.add_constructor("tag:yaml.org,2002:null", _null)


def _yaml(text: str) -> Any:
    if text.count("*") > MOST_ALIASES:
        raise ConfigError(f"cannot be read: more than {MOST_ALIASES} aliases")
    try:
        return yaml.load(text, Loader=_AsTyped)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"cannot be read: {str(error).splitlines()[0]}") from error
