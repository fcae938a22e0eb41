"""The question that runs ask together, and the answer's first sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bnexp import metrics
from bnexp.analysis.groups import Group, decimals, grouped
from bnexp.analysis.naming import HEADLINES, facts, phrase, value_name
from bnexp.analysis.records import Record
from bnexp.analysis.variation import Knob, knobs
from bnexp.composition.drafts import draft
from bnexp.display.comparison import Comparison, estimated, findings
from bnexp.errors import ConfigError

MOST_NAMES = 4  # of knobs in a title
MOST_UNUSUAL = 6  # knobs that are told though they were not varied
MOST_VALUES = 8  # of a knob that are listed
MODEL, DATA = "choices.model", "choices.data"
LENGTHS = ("epochs", "steps")


def question(records: Sequence[Record]) -> str:
    """Return what was varied and what was not, in a sentence.

    For example `12 runs: norm (custom, none, group) × batch_size (8, 64), 2 seeds; lenet on digits`.
    """
    swept = knobs(records)
    parts = [_varied(records, swept), _seeds(records)]
    asked = ", ".join(part for part in parts if part)
    common = _common(records, swept)
    return f"{runs(len(records))}: {asked}" + (f"; {common}" if common else "")


def title(records: Sequence[Record]) -> str:
    """Return what was varied in a few words, such as `norm × batch_size (lenet on digits)`."""
    swept = knobs(records)
    names = [knob.title for knob in swept[:MOST_NAMES]] + (["…"] if len(swept) > MOST_NAMES else [])
    what = _what(facts(records[0].config), {knob.key for knob in swept})
    sign = " × " if _are_crossed(records, swept) else ", "
    varied = sign.join(names) or str(records[0].value("norm"))
    return f"{varied} ({what})" if what else varied


def in_short(comparison: Comparison) -> list[str]:
    """Return the best and the worst by the first metric, and what differs from the baseline in which metric.

    A configuration of which a run diverged is neither the best nor the worst.
    """
    tag, groups = comparison.metrics[0], comparison.groups
    known = [
        (found.mean, group) for group in groups if group.is_complete(tag) and (found := group.estimate(tag))
    ]
    told = []
    if len(known) > 1:
        ends = {"Lowest": min(mean for mean, _ in known), "Highest": max(mean for mean, _ in known)}
        names = list(ends) if metrics.of(tag).better == "lower" else list(reversed(ends))
        title = metrics.of(tag).title
        told = [f"{name} mean {title}: {_equal(known, ends[name], tag, groups)}." for name in names]
    return [*told, *findings(comparison)]


def _equal(known: Sequence[tuple[float, Group]], mean: float, tag: str, groups: Sequence[Group]) -> str:
    """Return the names of the groups whose mean a table shows as this one, and that mean."""
    number, places = metrics.of(tag).number, decimals(groups, tag)
    text = number(mean, decimals=places)
    equal = [group for one, group in known if number(one, decimals=places) == text]
    more = f" and {len(equal) - MOST_NAMES} more" if len(equal) > MOST_NAMES else ""
    return "; ".join(group.name for group in equal[:MOST_NAMES]) + f"{more}: {_mean(equal[0], tag)}"


def _varied(records: Sequence[Record], swept: Sequence[Knob]) -> str:
    names = [f"{knob.title} ({_values(knob)})" for knob in swept]
    if _are_crossed(records, swept):
        return " × ".join(names) or "one configuration"
    number = len(grouped(records))
    return f"{number} configurations that differ in {', '.join(names)}"


def _are_crossed(records: Sequence[Record], swept: Sequence[Knob]) -> bool:
    return len(grouped(records)) == math.prod(len(knob.values) for knob in swept)


def _values(knob: Knob) -> str:
    words = [value_name(knob.key, value) for value in knob.values]
    if len(words) <= MOST_VALUES:
        return ", ".join(words)
    return f"{words[0]}, {words[1]}, …, {words[-1]}: {len(words)} values"


def _seeds(records: Sequence[Record]) -> str:
    seeds = sorted({record.config.get("seed", 0) for record in records})
    each = {len(group.records) for group in grouped(records)}
    if len(each) > 1:
        return f"{min(each)} to {max(each)} seeds each"
    return f"{len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}"


def _common(records: Sequence[Record], swept: Sequence[Knob]) -> str:
    fact, varied = facts(records[0].config), {knob.key for knob in swept}
    found = [_what(fact, varied), *(_length(fact, key, varied) for key in LENGTHS)]
    return ", ".join([*(part for part in found if part), *_unusual(records)])


def _unusual(records: Sequence[Record]) -> list[str]:
    """Return, in words, the studied knobs that all runs share with a value that is no default."""
    found = [facts(record.config) for record in records]
    shared = {key: value for key, value in found[0].items() if all(fact.get(key) == value for fact in found)}
    choices = {"model": shared.get(MODEL), "data": shared.get(DATA)}
    try:
        node = draft([f"{group}={choice}" for group, choice in choices.items() if choice is not None])
    except ConfigError:  # a choice that is not here any more has no defaults
        return []
    usual, named = facts(asdict(node.config)), {MODEL, DATA, *LENGTHS, "seed"}
    keys = [key for key in HEADLINES if key in shared and key not in named and shared[key] != usual.get(key)]
    told = [phrase(key, shared[key]) for key in keys[:MOST_UNUSUAL]]
    return told + (["…"] if len(keys) > MOST_UNUSUAL else [])


def _what(fact: Mapping[str, Any], varied: set[str]) -> str:
    model = str(fact.get(MODEL, "")) if MODEL not in varied else ""
    data = f"on {fact[DATA]}" if DATA in fact and DATA not in varied else ""
    return " ".join(part for part in (model, data) if part)


def _length(fact: Mapping[str, Any], key: str, varied: set[str]) -> str:
    value = fact.get(key)
    return phrase(key, value) if value and key not in varied else ""


def runs(number: int) -> str:
    """Return `1 run`, `2 runs`."""
    return f"{number} run" + ("" if number == 1 else "s")


def _mean(group: Group, tag: str) -> str:
    diverged = group.count("diverged")
    number = runs(len(group.records)) + (f", {diverged} diverged" if diverged else "")
    return f"{estimated(group, tag)} ({number})"
