"""Which runs a person means: folders, names, sweeps and experiments, and filters such as `batch_size<16`.

KEY=VALUE[,VALUE...]   one of the values; * and ? in a value match any letters; "VALUE" may hold commas
KEY!=VALUE[,...]       none of them, which holds where there is no such key, too
KEY<NUMBER             also <=, > and >=; age<2h (s, m, h, d, w) and started>=2026-11-27 too
started=2026-11-27     on that day, or in that month with 2026-11

KEY is a group (`norm`), a dotted key of the configuration (`optimizer.lr`), a metric (`accuracy/test`), or
`status`, `name`, `experiment`, `age`, `started`, `sweep`.
"""

from __future__ import annotations

import math
import operator
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bnexp.analysis.records import ABSENT, Record, all_records, holds_run, read_record
from bnexp.choices import GROUPS
from bnexp.errors import CheckpointError, ConfigError, suggestion
from bnexp.runs import sweeps
from bnexp.runs.directory import SWEEPS, RunDirectory, open_run
from bnexp.runs.lookup import find
from bnexp.runs.reading import leaves
from bnexp.statuses import ANSWERED, OWN_KEYS

WORD = re.compile(r"([\w.@/-]+?) *(<=|>=|!=|==?|<|>) *(.*)", re.DOTALL)
ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
WORDS = {None: "null", True: "true", False: "false"}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True)
class Filter:
    """One condition on runs; see the module."""

    word: str
    key: str
    sign: str
    values: tuple[str, ...]
    bound: float = math.nan

    def holds(self, record: Record) -> bool:
        value = record.value(self.key)
        if self.sign in ORDERS:
            return _is_number(value) and ORDERS[self.sign](value, self.bound)
        if self.key == "started":
            value = datetime.fromtimestamp(value).isoformat()
            return (self.sign == "=") == value.startswith(self.values)
        return (self.sign == "=") == any(_same(value, wanted) for wanted in self.values)


def is_filter(word: str) -> bool:
    return WORD.fullmatch(word) is not None and not os.path.exists(word)


def parse(word: str) -> Filter:
    """Read one condition.

    Raises:
        ConfigError: an order of something that has none, or an age that is to be met exactly.
    """
    found = WORD.fullmatch(word)
    assert found is not None
    key, sign, text = found.groups()
    if sign not in ORDERS and key != "age":
        return Filter(word, key, sign.replace("==", "="), tuple(_listed(text)))
    bound = {"age": _age, "started": _moment}.get(key, _number)(text)
    if bound is None or sign not in ORDERS or key == "sweep":
        needs = {
            "age": "< or > and a time such as 30m, 6h or 2d",
            "started": "a date such as 2026-11-27",
            "sweep": "= and names",
        }
        raise ConfigError(f"{word}: {key} is compared with {needs.get(key, 'a number')}, got {sign}{text}")
    return Filter(word, key, sign, (text,), bound)


def select(words: Sequence[str], root: Path) -> list[Record]:
    """Return the runs that are meant, those that are named in the order given, else newest first.

    Args:
        words: references (a run's folder or name, `last`, a sweep, an experiment), which add up, and filters,
            which all must hold. No reference means all runs.
    Raises:
        CheckpointError: a reference that means nothing.
        ConfigError: a filter that cannot be read, or on a key that no run has.
    """
    references = [word for word in words if not is_filter(word)]
    filters = [parse(word) for word in words if is_filter(word)]
    records = _unique([record for word in references for record in _referred(word, root)])
    if not references:
        records = all_records(root)
    for condition in filters:
        check_key(condition, records)
    for condition in filters:
        if condition.key == "sweep":
            runs = {run.path.resolve() for value in condition.values for run in _sweep(value, root)}
            records = [
                record for record in records if (record.run.path.resolve() in runs) == (condition.sign == "=")
            ]
            continue
        records = [record for record in records if condition.holds(record)]
    return records


def answers(words: Sequence[str], root: Path) -> tuple[list[Record], list[str]]:
    """Return those of the runs that are meant which answer a question, oldest first, and notes on the others.

    Named runs keep the order in which they are named.

    Raises:
        CheckpointError, ConfigError: as `select`; or no run is left.
    """
    records = select(words, root)
    if all(is_filter(word) for word in words):
        records.reverse()
    kept = [record for record in records if record.status in ANSWERED]
    left_out = Counter(record.status for record in records if record.status not in ANSWERED)
    notes = [f"{number} {status} left out" for status, number in sorted(left_out.items())]
    if not kept:
        told = f" ({', '.join(notes)})" if notes else "" if records else nearest(words, root)
        raise CheckpointError(f"no finished run {' '.join(words) or f'under {root}'}{told}; see `bnexp runs`")
    return kept, notes


def nearest(words: Sequence[str], root: Path) -> str:
    """Return ' (did you mean ...?)' for the first filter on a value that no run has, nothing for none."""
    records = all_records(root)
    for condition in (parse(word) for word in words if is_filter(word)):
        if condition.sign != "=" or any(condition.holds(record) for record in records):
            continue
        known = {value for record in records if isinstance(value := record.value(condition.key), str)}
        if found := suggestion(condition.values[0], known):
            return found
    return ""


def _referred(word: str, root: Path) -> list[Record]:
    """Folders first, so that a shell's `runs/default/*` costs one look each and may hold what is broken."""
    for folder in (Path(word), root / word) if word != "last" else ():
        if os.path.isfile(folder / "config.yaml"):
            return [read_record(RunDirectory(folder))]
        if not os.path.isdir(folder):
            continue
        above = folder.resolve().parents
        if root.resolve() == above[0]:
            return [record for record in reversed(all_records(root)) if record.experiment == folder.name]
        if root.resolve() in above[1:2]:
            return [read_record(RunDirectory(folder))] if folder.name != SWEEPS and holds_run(folder) else []
    if (record := sweeps.find(word, root)) is not None:
        return [read_record(run) for run in sweeps.read(record).runs().values()]
    return [read_record(open_run(find(word, root)))]


def _sweep(name: str, root: Path) -> list[RunDirectory]:
    record = sweeps.find(name, root)
    if record is None:
        known = [path.stem for path in sweeps.records(root)]
        raise CheckpointError(f"no sweep {name!r} under {root}{suggestion(name, known)}")
    return list(sweeps.read(record).runs().values())


def _unique(records: Sequence[Record]) -> list[Record]:
    return list({record.run.path.resolve(): record for record in records}.values())


def check_key(condition: Filter, records: Sequence[Record]) -> None:
    """Raise ConfigError if none of the runs, which may be none, has the key of a condition."""
    key = condition.key
    if not records or key == "sweep" or any(record.value(key) is not ABSENT for record in records):
        return
    raise ConfigError(f"{condition.word}: no run has {key!r}{suggestion(key, known_keys(records))}")


def known_keys(records: Iterable[Record]) -> set[str]:
    """Return the keys on which runs can be filtered."""
    known = {*OWN_KEYS, *GROUPS}
    for record in records:
        known |= {key for key, _ in leaves(record.config)} | set(record.result)
    return known


def _listed(text: str) -> list[str]:
    """Split at commas, but not within double quotes."""
    return [quoted or plain for quoted, plain in re.findall(r'(?:^|,)(?:"([^"]*)"|([^,]*))', text)]


def _same(value: Any, wanted: str) -> bool:
    """Whether a value is what a word says: 0.001 is 1e-3, True is true; * and ? match letters of a text."""
    if value is ABSENT:
        return False
    if value is None or isinstance(value, bool):
        return wanted.lower() == WORDS[value]
    if _is_number(value) and (number := _number(wanted)) is not None:
        return bool(value == number)
    return fnmatchcase(str(value), wanted.replace("[", "[[]"))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _age(text: str) -> float | None:
    found = re.fullmatch(r"([\d.]+)([smhdw])", text)
    number = _number(found[1]) if found else None
    return None if number is None or found is None else number * UNITS[found[2]]


def _moment(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None
