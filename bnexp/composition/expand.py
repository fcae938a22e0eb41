"""The jobs of a sweep: every combination of the values that its words list."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import product
from typing import Any

from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException

from bnexp.choices import GROUPS, groups
from bnexp.composition.mistakes import first_line, parse
from bnexp.composition.words import twice
from bnexp.errors import ConfigError

MOST = 100_000  # values of one range


class Folders:
    """The choices that `glob` picks from; takes the place of Hydra's config loader."""

    def get_group_options(self, group: str, results_filter: Any = None) -> list[str]:
        return sorted(groups().get(GROUPS.get(group, group), {}))


def expand(words: Sequence[str], paired: Sequence[Sequence[str]] = ()) -> list[list[str]]:
    """Return each job's words; `norm=custom,none seed=range(0,3)` gives six jobs.

    Args:
        paired: groups of keys whose lists are gone through together, first value with first value.
    Raises:
        ConfigError: words that Hydra's grammar does not know, or that list no value at all; keys to be paired
            that list unequal numbers of values or none.
    """
    parsed, mistakes = parse(words)
    mistakes = twice(words) + mistakes
    for word, override in parsed.items():
        override.config_loader = Folders()  # type: ignore[assignment]
        if override.is_sweep_override():
            mistakes += _listless(word, override)
    if mistakes:
        raise ConfigError(mistakes)
    lists = {override.key_or_group: _alternatives(override) for override in parsed.values()}
    return [[word for part in job for word in part] for job in product(*_together(lists, paired))]


def swept_keys(words: Sequence[str]) -> list[str]:
    """Return the keys of which a word lists several values, however it does."""
    return [each.key_or_group for each in parse(words)[0].values() if each.is_sweep_override()]


def _alternatives(override: Override) -> list[str]:
    """Return one word for each value."""
    key = override.get_key_element()
    if override.is_sweep_override():
        return [f"{key}={value}" for value in _values(override)]
    return [f"{key}={override.get_value_element_as_str()}"]


def _values(override: Override) -> Iterator[str]:
    """Yield the values of a list as words have them; those of a range as a person would write them.

    Hydra adds its steps up in binary: `range(0.1,0.6,0.1)` would hold 0.30000000000000004, which no filter
    that says 0.3 finds, and its last value could be the stop.
    """
    value = override.value()
    if not isinstance(value, RangeSweep):
        return iter(override.sweep_string_iterator())
    numbers = decimal_range(value.start, value.stop, value.step)
    if value.shuffle:
        random.shuffle(numbers)
    return map(str, numbers)


def decimal_range(start: Any, stop: Any, step: Any) -> list[int] | list[float]:
    """Return start, start + step, ... below `stop` (above it where step is negative), exact in decimal.

    Raises:
        ValueError: a step of 0, a number that is not finite, or more than MOST values.
    """
    # Nobody types more than 15 digits; what is beyond them Hydra's `sort` has left there.
    first, end, by = (
        Decimal(number) if isinstance(number, int) else Decimal(f"{number:.15g}")
        for number in (start, stop, step)
    )
    if not (first.is_finite() and end.is_finite() and by.is_finite()) or by == 0:
        raise ValueError("a range needs finite numbers and a step that is not 0")
    count = max(0, math.ceil((end - first) / by))
    if count > MOST:
        raise ValueError(f"a range may have {MOST:,} values, got {count:,}: make its step larger")
    whole = all(isinstance(number, int) for number in (start, stop, step))
    return [int(first + by * index) if whole else float(first + by * index) for index in range(count)]


def _together(lists: dict[str, list[str]], paired: Sequence[Sequence[str]]) -> list[list[tuple[str, ...]]]:
    """Return the alternatives of each key, or of each group of keys that go together."""
    found: dict[str, list[tuple[str, ...]]] = {key: [(word,) for word in lists[key]] for key in lists}
    for group in paired:
        if missing := [key for key in group if key not in found]:
            raise ConfigError(f"--pair {','.join(group)}: no word lists values of {', '.join(missing)}")
        sizes = {key: len(lists[key]) for key in group}
        if len(set(sizes.values())) != 1:
            told = ", ".join(f"{key} {size}" for key, size in sizes.items())
            raise ConfigError(f"--pair needs equally many values of each key, got {told}")
        joined = zip(*(found.pop(key) for key in group), strict=True)
        found[group[0]] = [tuple(word for part in parts for word in part) for parts in joined]
    return list(found.values())


def _listless(word: str, override: Override) -> list[str]:
    if not override.is_discrete_sweep():
        return [f"{word}: a sweep needs values one by one, as in KEY=1,2 or KEY=range(0,3)"]
    try:
        values = any(True for _ in _values(override))
    except (HydraException, ValueError) as error:
        return [f"{word}: {first_line(error)}"]
    return [] if values else [f"{word}: lists no value"]
