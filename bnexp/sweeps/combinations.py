"""The combinations that a sweep's words ask for: of their lists of values, times the trials of a file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import yaml

from bnexp.composition import expand
from bnexp.composition.drafts import draft
from bnexp.errors import ConfigError

LOOKED_AT = 20  # combinations; each takes Hydra a tenth of a second
MISTAKEN = 3  # of them; what is wrong in one takes it longer, and a wrong word may be in all
TRIAL_FILES = (".csv", ".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Request:
    """What a person typed after `bnexp train -m`.

    Args:
        words: with lists of values; trials: more words for each row of a trial file.
        paired: groups of keys whose values go together, first with first.
    """

    words: Sequence[str]
    plugins: Sequence[str] = ()
    trials: Sequence[Sequence[str]] = ((),)
    paired: Sequence[Sequence[str]] = ()


def combinations(request: Request) -> list[list[str]]:
    """Return the words of each combination: of the lists in `words`, times the trials.

    Raises:
        ConfigError: a word in them is misspelt, of those that show it without torch.
    """
    jobs = expand.expand(request.words, request.paired)
    found = [[*job, *trial] for job in jobs for trial in request.trials]
    wrong = list(islice(_mistaken(islice(_covering(found), LOOKED_AT)), MISTAKEN))
    if wrong:
        raise ConfigError(list(dict.fromkeys(line for problems in wrong for line in problems)))
    return found


def _mistaken(jobs: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    """Yield what is wrong with each job that is wrong."""
    for words in jobs:
        try:
            draft(words)
        except ConfigError as error:
            yield error.problems


def _covering(jobs: Sequence[Sequence[str]]) -> Iterator[Sequence[str]]:
    """Yield few jobs that together hold every word, those with most new words first."""
    left = set().union(*jobs)
    while left:
        chosen = max(jobs, key=lambda job: len(left.intersection(job)))
        yield chosen
        left.difference_update(chosen)


def read_trials(path: Path) -> list[list[str]]:
    """Return the words of each trial of a file: a table of runs instead of a grid.

    .csv           a header of keys, a row a run; an empty cell leaves the key to the other words
    .yaml, .json   a list of mappings KEY: VALUE, or of lists of words

    Raises:
        ConfigError: another kind of file, one that cannot be read, or one without trials.
    """
    if path.suffix not in TRIAL_FILES:
        raise ConfigError(f"--trials must be a {', '.join(TRIAL_FILES)} file, got {path}")
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


def _table(text: str) -> list[dict[str, str]]:
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True, strict=True)
    return [{key: cell for key, cell in row.items() if cell not in (None, "")} for row in rows]


def _words(path: Path, number: int, row: object) -> list[str]:
    if isinstance(row, Mapping) and None not in row:
        return [f"{key}={_value(value)}" for key, value in row.items()]
    if isinstance(row, list) and all(isinstance(word, str) and "=" in word for word in row):
        return row
    raise ConfigError(f"--trials {path}, trial {number} must map keys to values or list words, got {row!r}")


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
