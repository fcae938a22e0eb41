"""Each configuration at its own best values of some knobs, chosen on validation: one learning rate for all is
the first thing to attack in a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bnexp import metrics
from bnexp.analysis.groups import Group, neutral
from bnexp.analysis.naming import legend_names
from bnexp.analysis.query import known_keys
from bnexp.analysis.records import ABSENT, Record
from bnexp.errors import ConfigError, suggestion
from bnexp.runs.identity import config_hash

BY = "accuracy/val"


@dataclass(frozen=True)
class Tuned:
    """What was chosen.

    records: the runs of each configuration with its best values, in their order; notes: how they were chosen.
    """

    keys: Sequence[str]
    records: Sequence[Record]
    notes: Sequence[str]


def tuned(records: Sequence[Record], keys: Sequence[str], by: str = BY) -> Tuned:
    """Choose for each configuration the values of `keys` with the best mean of a validation metric.

    A configuration is everything but `keys` and the seed. Values with which a run diverged are chosen only
    where no others are left; of equal means the first counts.

    Raises:
        ConfigError: a key that no run has; or `by` is no validation metric of a known direction, or no run
            has it.
    """
    _check(records, keys, by)
    arms: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        arm = config_hash({**neutral(record.config, keys, follow=True), "seed": None})
        arms.setdefault(arm, {}).setdefault(repr([record.value(key) for key in keys]), []).append(record)
    chosen = [_best([Group("", {}, runs) for runs in values.values()], by) for values in arms.values()]
    kept = {id(record) for group in chosen for record in group.records}
    names = legend_names([neutral(group.records[0].config, [*keys, "seed"], follow=True) for group in chosen])
    counts = dict(zip(names, map(len, arms.values()), strict=True))
    notes = [*_how(keys, by, counts), *_edges(keys, chosen, list(arms.values()), names)]
    return Tuned(keys, [record for record in records if id(record) in kept], notes)


def _check(records: Sequence[Record], keys: Sequence[str], by: str) -> None:
    for key in keys:
        if all(record.value(key) is ABSENT for record in records):
            raise ConfigError(f"--best-of {key}: no run has this key{suggestion(key, known_keys(records))}")
    if metrics.split_of(by) != "val" or metrics.of(by).better == "unknown":
        known = ", ".join(metrics.tags("val"))
        raise ConfigError(
            f"--by must be a validation metric ({known}), never one of the test split; got {by!r}"
        )
    if all(record.metric(by) is None for record in records):
        raise ConfigError(f"--by {by}: no run has it; train with data.val_fraction above 0")


def _best(candidates: Sequence[Group], by: str) -> Group:
    sign = -1 if metrics.of(by).better == "higher" else 1

    def rank(group: Group) -> tuple[int, float]:
        found = group.estimate(by)
        if found is None:
            return 2, 0.0
        return 0 if group.is_complete(by) else 1, sign * found.mean

    return min(candidates, key=rank)


def _how(keys: Sequence[str], by: str, counts: dict[str, int]) -> list[str]:
    metric = metrics.of(by)
    names, numbers = ", ".join(keys), sorted(set(counts.values()))
    many = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    way = "highest" if metric.better == "higher" else "lowest"
    found = [f"{names}: of {many} values each, those with the {way} mean {metric.title} over seeds"]
    if len(numbers) > 1:
        each = ", ".join(f"{name} {count}" for name, count in counts.items())
        found.append(f"unequal chances: numbers of values of {names} differ ({each})")
    return found


def _edges(
    keys: Sequence[str],
    chosen: Sequence[Group],
    arms: Sequence[dict[str, list[Record]]],
    names: Sequence[str],
) -> list[str]:
    """Say where the best value is the smallest or the largest there is: a better one may lie beyond it."""
    found = []
    for key in keys:
        at_edge = []
        for name, group, values in zip(names, chosen, arms, strict=True):
            numbers = sorted({value for runs in values.values() if _is_number(value := runs[0].value(key))})
            if len(numbers) > 1 and group.records[0].value(key) in (numbers[0], numbers[-1]):
                at_edge.append(name)
        if at_edge:
            found.append(
                f"{key}: the best value is the smallest or the largest there is for {', '.join(at_edge)}"
            )
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
