"""Runs that ask one question with several seeds, and their counterparts in a baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from bnexp import metrics
from bnexp.analysis.naming import differing, facts, legend_names, title
from bnexp.analysis.query import Filter, known_keys
from bnexp.analysis.records import ABSENT, Record, at, chosen
from bnexp.analysis.statistics import Difference, Estimate, estimate, paired
from bnexp.choices import GROUPS, own_values
from bnexp.errors import ConfigError, suggestion
from bnexp.runs.identity import config_hash, norm_options
from bnexp.shorthand import NORMS, SHORTHANDS, norm_values

FOLLOWERS = {"model": ("head_norm", "placement", "activation")}
FOLLOW = (True, False)  # the order in which partners are looked for; see `Baseline`
ANY = {"norm": {"_target_": "any"}, "batch_size": math.inf}  # what `config_hash` looks for


@dataclass(frozen=True)
class Group:
    """Runs that are averaged.

    choices: what tells this group from the others, by key as a command line has it, without what it has not;
    name: the same in words.
    """

    name: str
    choices: Mapping[str, Any]
    records: Sequence[Record]

    def estimate(self, tag: str) -> Estimate | None:
        """Return a metric's mean over the runs that have it and did not diverge; None where none has."""
        values = [value for record in self.records if (value := measured(record, tag)) is not None]
        if not values:
            return None
        found = estimate(values, step := step_of(self.records, tag))
        tied = found.std == 0 and not step and metrics.of(tag).is_share
        return replace(found, half_width=None) if tied else found

    def is_complete(self, tag: str) -> bool:
        """Whether a metric's mean is that of all the runs: else it is one of those that went well."""
        return all(measured(record, tag) is not None for record in self.records)

    def count(self, status: str) -> int:
        return sum(record.status == status for record in self.records)


def measured(record: Record, tag: str) -> float | None:
    """Return a measurement to be averaged, None of a run that diverged.

    Whatever it measured before, it has no answer to what was asked; how soon it ended is none of its speed.
    """
    return None if record.status == "diverged" else record.metric(tag)


def step_of(records: Sequence[Record], tag: str) -> float:
    """Return the step of the grid on which a metric's values lie; 0 if none is known.

    That of a share is one example's. Runs have it in common as a rule; else the coarsest counts, and runs of
    earlier versions do not say it. Other numbers of a network are known to `metrics.ROUNDING` of their size.
    """
    metric = metrics.of(tag)
    if metric.is_share:
        sizes = [size for record in records if (size := record.examples(tag)) is not None]
        return 1 / min(sizes) if sizes else 0.0
    if metric.average not in ("examples", "split"):
        return 0.0
    values = (value for record in records if (value := measured(record, tag)) is not None)
    return metrics.ROUNDING * max((abs(value) for value in values if math.isfinite(value)), default=0.0)


def newest(records: Sequence[Record]) -> list[Record]:
    """Return the newest run of each configuration: a seed that is run again is no further draw."""
    found: dict[str, Record] = {}
    for record in records:
        known = found.setdefault(config_hash(record.config), record)
        if known.started < record.started:
            found[config_hash(record.config)] = record
    kept = {id(record) for record in found.values()}
    return [record for record in records if id(record) in kept]


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
    differ = differing([facts(config) for config in configs])
    names = legend_names(configs)
    return [
        Group(name, _known({title(key): _choice(config, key) for key in differ}), runs)
        for name, config, runs in zip(names, configs, members, strict=True)
    ]


def mixture(groups: Sequence[Group], keys: Sequence[str]) -> list[str]:
    """Return in what, beside `keys` and the seed, runs of one group differ."""
    within = [differing([facts(record.config) for record in group.records]) for group in groups]
    found = dict.fromkeys(title(key) for keys_of_group in within for key in keys_of_group)
    return [key for key in found if key not in (*keys, "seed")]


def _choice(config: Mapping[str, Any], key: str) -> Any:
    return chosen(config, title(key)) if key.startswith("choices.") else at(config, key)


def _known(choices: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in choices.items() if value is not ABSENT}


def _by_keys(records: Sequence[Record], keys: Sequence[str]) -> list[Group]:
    for key in keys:
        if all(record.value(key) is ABSENT for record in records):
            raise ConfigError(f"--group-by {key}: no run has this key{suggestion(key, known_keys(records))}")
    members = _collected(records, lambda record: repr([record.value(key) for key in keys]))
    choices = [_known({key: runs[0].value(key) for key in keys}) for runs in members]
    return [
        Group(
            ", ".join(f"{key} {chosen[key]}" if key in chosen else f"no {key}" for key in keys), chosen, runs
        )
        for chosen, runs in zip(choices, members, strict=True)
    ]


def _collected(records: Sequence[Record], key: Callable[[Record], str]) -> list[list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(key(record), []).append(record)
    return list(found.values())


class Baseline:
    """The runs that others are compared with, such as those of `norm=builtin`.

    A run's partner differs from it in the keys of the baseline and in what follows from them, such as the
    head's copy of the norm, or in the keys alone where no run does so. It has the same seed, and the same
    momentum and eps unless these follow from the keys; of several runs the newest counts.
    """

    def __init__(
        self, conditions: Sequence[Filter], records: Sequence[Record], chosen: Sequence[str] = ()
    ) -> None:
        """Find the runs of the baseline.

        Args:
            chosen: keys whose values each configuration has for itself, so that partners may differ in them.
        Raises:
            ConfigError: there are none.
        """
        self._conditions = conditions
        self._keys = [*(condition.key for condition in conditions), *chosen]
        own = [record for record in records if self.holds(record)]
        if not own:
            raise ConfigError(f"--baseline {self.words}: none of the runs to be compared is one")
        own.sort(key=lambda record: record.started)
        self._partners: dict[tuple[str, bool], list[Record]] = {}
        for record in own:
            for follow in FOLLOW:
                self._partners.setdefault(self._question(record, follow), []).append(record)

    @property
    def words(self) -> str:
        """The conditions as a person gave them."""
        return " ".join(condition.word for condition in self._conditions)

    def holds(self, record: Record) -> bool:
        return all(condition.holds(record) for condition in self._conditions)

    def difference(self, group: Group, tag: str) -> Difference | None:
        """Return how far the group's runs lie from their partners; None where there is no pair.

        Two runs that share a baseline run, as with `--group-by`, are one pair: their mean against it. A pair
        is lost where one of the two has no number.
        """
        values: dict[int, list[float]] = {}
        others: dict[int, float] = {}
        runs: list[Record] = []
        lost = set()
        for record in group.records:
            if (partner := None if self.holds(record) else self._partner(record)) is None:
                continue
            value, other = measured(record, tag), measured(partner, tag)
            if value is not None and other is not None:
                values.setdefault(id(partner), []).append(value)
                others[id(partner)] = other
                runs += record, partner
            else:
                lost.add(id(partner))
        if not values:
            return None
        means = [fmean(found) for found in values.values()]
        return paired(means, list(others.values()), step_of(runs, tag), len(lost))

    def _partner(self, record: Record) -> Record | None:
        for follow in FOLLOW:
            partners = self._partners.get(self._question(record, follow), [])
            if fitting := [other for other in partners if self._agree(record, other)]:
                return fitting[-1]
        return None

    def _agree(self, record: Record, other: Record) -> bool:
        """Whether momentum and eps are the same or follow from the keys, as far as both norms have them."""
        one, two = record.config, other.config
        mine, theirs = norm_values(one), norm_values(two)
        return all(
            mine[name] == theirs[name]
            or ("convention" in self._keys and all(_brings("convention", each, name) for each in (one, two)))
            or ("norm" in self._keys and any(_brings("norm", each, name) for each in (one, two)))
            for name in (mine.keys() & theirs.keys()).difference(_named(self._keys))
        )

    def _question(self, record: Record, follow: bool) -> tuple[str, bool]:
        """Return what a run and its partner share."""
        return config_hash(neutral(record.config, self._keys, follow)), follow


def neutral(config: Mapping[str, Any], keys: Sequence[str], follow: bool) -> dict[str, Any]:
    """Return a configuration without `keys`, so that runs can be paired, and without what followed from them.

    A head norm that copies the norm follows it, so does a head's momentum or eps that is the norm's; a norm
    batch that is the batch follows the batch size, and momentum and eps the convention.
    """
    kept = {**config}
    for name in SHORTHANDS if follow and "convention" in keys else _named(keys):
        holders = [norm for norm in NORMS if isinstance(config.get(norm), Mapping) and name in config[norm]]
        for norm in holders if follow else holders[:1]:
            if config[norm][name] == config[holders[0]][name]:
                kept[norm] = without(kept[norm], name)
    if follow:
        keys = [*keys, *(follower for key in keys for follower in FOLLOWERS.get(key, ()))]
        if any(key.split(".")[0] == "norm" for key in keys) and config.get("head_norm") == config.get("norm"):
            kept["head_norm"] = None
        if "batch_size" in keys and "norm_batch" not in norm_options(config):
            kept["norm_batch"] = None
    for key in keys:
        kept = without(kept, key)
    return {**ANY, **kept}


def _named(keys: Sequence[str]) -> list[str]:
    return [name for name in SHORTHANDS if name in keys or f"norm.{name}" in keys]


def _brings(group: str, config: Mapping[str, Any], name: str) -> bool:
    """Whether a run's momentum or eps is the one that its option of a group says in its own YAML."""
    brought = own_values(group, chosen(config, group)).get(name, ABSENT)
    return bool(brought == norm_values(config)[name])


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


def decimals(groups: Sequence[Group], tag: str) -> int:
    """Return how many decimals show the means of all groups: as many as the one known best deserves."""
    metric, found = metrics.of(tag), [group.estimate(tag) for group in groups]
    digits = [metric.digits(one.mean, one.half_width) for one in found if one is not None]
    return max([digit for digit in digits if digit <= metrics.MOST_DECIMALS], default=metric.decimals)


def winners(groups: Sequence[Group], tag: str) -> list[bool]:
    """Return whether each group has the best mean, as far as a table shows it; none has if all have the same.

    None is the best where it is not known which way is better, nor is a group of which a run has no number,
    such as one that diverged: that of the others is not the mean of what was asked for.
    """
    metric, places = metrics.of(tag), decimals(groups, tag)
    found = [group.estimate(tag) if group.is_complete(tag) else None for group in groups]
    means = [one.mean for one in found if one is not None]
    shown = {metric.number(mean, decimals=places) for mean in means}
    if metric.better == "unknown" or len(shown) < 2:
        return [False] * len(groups)
    best = metric.number(min(means) if metric.better == "lower" else max(means), decimals=places)
    return [one is not None and metric.number(one.mean, decimals=places) == best for one in found]
