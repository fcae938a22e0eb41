"""Runs that ask one question with several seeds, and their counterparts in a baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnexp.errors import ConfigError
from bnexp.runs.identity import config_hash
from bnexp.runs.naming import differing, facts, legend_names, title
from bnexp.runs.query import Filter
from bnexp.runs.records import ABSENT, GROUPS, Record
from bnexp.runs.statistics import Difference, Estimate, estimate, paired

FOLLOWERS = {"convention": ("momentum", "eps"), "model": ("head_norm", "placement", "activation")}
ANY = {"norm": {"_target_": "any"}, "batch_size": math.inf}  # what `config_hash` looks for
COSTS = ("seconds", "step_time_ms", "peak_memory_bytes", "parameters")
LOWER_IS_BETTER = ("loss/", *COSTS)


@dataclass(frozen=True)
class Group:
    """Runs that are averaged.

    choices: what tells this group from the others, by key as a command line has it; name: the same in words.
    """

    name: str
    choices: Mapping[str, Any]
    records: Sequence[Record]

    def estimate(self, tag: str) -> Estimate | None:
        """Return a metric's mean over the runs that have it; None where none has."""
        values = [value for record in self.records if (value := record.metric(tag)) is not None]
        return estimate(values) if values else None

    def count(self, status: str) -> int:
        return sum(record.status == status for record in self.records)


def grouped(records: Sequence[Record], keys: Sequence[str] = ()) -> list[Group]:
    """Return the groups in the order in which their first runs stand.

    Args:
        keys: runs with equal values of these are averaged; without any, those that differ in their seed.
    Raises:
        ConfigError: a key that no run has.
    """
    if keys:
        return _by_keys(records, keys)
    members = _collected(records, lambda record: config_hash({**record.config, "seed": None}))
    configs = [{**found[0].config, "seed": None} for found in members]
    found = [facts(config) for config in configs]
    differ = differing(found)
    names = legend_names(configs)
    return [
        Group(name, {title(key): fact.get(key) for key in differ}, runs)
        for name, fact, runs in zip(names, found, members, strict=True)
    ]


def _by_keys(records: Sequence[Record], keys: Sequence[str]) -> list[Group]:
    for key in keys:
        if all(record.value(key) is ABSENT for record in records):
            raise ConfigError(f"--group-by {key}: no run has this key")
    members = _collected(records, lambda record: repr([record.value(key) for key in keys]))
    choices = [{key: _shown(runs[0].value(key)) for key in keys} for runs in members]
    return [
        Group(", ".join(f"{key} {value}" for key, value in chosen.items()), chosen, runs)
        for chosen, runs in zip(choices, members, strict=True)
    ]


def _shown(value: Any) -> Any:
    return None if value is ABSENT else value


def _collected(records: Sequence[Record], key: Callable[[Record], str]) -> list[list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(key(record), []).append(record)
    return list(found.values())


class Baseline:
    """The runs that others are compared with, such as those of `norm=builtin`.

    A run's partner differs from it in the keys of the baseline alone, so it has the same seed; where several
    do, the newest counts.
    """

    def __init__(self, conditions: Sequence[Filter], records: Sequence[Record]) -> None:
        self._conditions = conditions
        self._keys = [condition.key for condition in conditions]
        own = [record for record in records if self.holds(record)]
        if not own:
            raise ConfigError(f"--baseline {self.words}: none of the runs to be compared is one")
        self._partners = {
            self._question(record): record for record in sorted(own, key=lambda one: one.started)
        }

    @property
    def words(self) -> str:
        """The conditions as a person gave them."""
        return " ".join(condition.word for condition in self._conditions)

    def holds(self, record: Record) -> bool:
        return all(condition.holds(record) for condition in self._conditions)

    def difference(self, group: Group, tag: str) -> Difference | None:
        """Return how far the group's runs lie from their partners; None where there is no pair."""
        pairs = [
            (value, other)
            for record in group.records
            if not self.holds(record)
            and (partner := self._partners.get(self._question(record))) is not None
            and (value := record.metric(tag)) is not None
            and (other := partner.metric(tag)) is not None
        ]
        return paired(*zip(*pairs, strict=True)) if pairs else None

    def _question(self, record: Record) -> str:
        """Return what a run and its partner share."""
        return config_hash(neutral(record.config, self._keys))


def neutral(config: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return a configuration without `keys` and what followed from them, so that runs can be paired.

    A head norm that copies the norm goes with it, a norm batch that is the batch with the batch size, and
    momentum and eps in the norms' nodes with the knobs that they came from.
    """
    keys = [*keys, *(follower for key in keys for follower in FOLLOWERS.get(key, ()))]
    kept = {**config}
    if "norm" in keys and config.get("head_norm") == config.get("norm"):
        kept["head_norm"] = None
    if "batch_size" in keys and config.get("norm_batch") == config.get("batch_size"):
        kept["norm_batch"] = None
    for source in {"momentum", "eps"}.intersection(keys):
        for name in ("norm", "head_norm"):
            node = kept.get(name)
            if isinstance(node, Mapping) and node.get(source) == config.get(source):
                kept[name] = without(node, source)
    for key in keys:
        kept = without(kept, key)
    return {**ANY, **kept}


def without(node: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a configuration without a dotted key; a group's key takes its node and the choice's name."""
    first, _, rest = key.partition(".")
    kept = dict(node)
    if rest and isinstance(kept.get(first), Mapping):
        kept[first] = without(kept[first], rest)
    elif not rest:
        kept.pop(first, None)
    if key in GROUPS and isinstance(kept.get("choices"), Mapping):
        kept["choices"] = without(kept["choices"], key)
    return kept


def best(groups: Sequence[Group], tag: str) -> Group | None:
    """Return the group with the best mean; None where there is nothing to choose.

    A group of which a run diverged cannot be the cheapest: that run was short.
    """
    known = [
        (found.mean, group)
        for group in groups
        if (found := group.estimate(tag)) is not None and not (tag in COSTS and group.count("diverged"))
    ]
    if len(known) < 2:
        return None
    pick = min if lower_is_better(tag) else max
    return pick(known, key=lambda pair: pair[0])[1]


def lower_is_better(tag: str) -> bool:
    return tag.startswith(LOWER_IS_BETTER)
