"""Which runs the figures of a report show, and in which look: the same in all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bnexp import metrics
from bnexp.analysis.groups import Group
from bnexp.analysis.naming import facts, phrase
from bnexp.analysis.records import Record
from bnexp.analysis.variation import Knob, knobs
from bnexp.figures.loss import Arm
from bnexp.figures.style import PALETTE
from bnexp.figures.subjects import Look, Subject, look
from bnexp.runs.reading import read_metrics

MOST_CURVES = len(PALETTE)
MOST_FACETS = 6


@dataclass(frozen=True)
class Facet:
    """The groups that share all choices but one; `title` says which they share."""

    title: str
    groups: Sequence[Arm]


@dataclass(frozen=True)
class Faceted:
    """Groups split by all but one knob, each of whose values has one look in every facet.

    groups: all of them in the order given, under their own names.
    """

    facets: Sequence[Facet]
    legend: Sequence[Arm]
    groups: Sequence[Arm]


def arms_of(groups: Sequence[Group]) -> list[Arm]:
    """Return every group with a look and with the rows of its runs.

    Raises:
        CheckpointError: a run is damaged.
    """
    return [_arm(group, look(index)) for index, group in enumerate(groups)]


def _arm(group: Group, style: Look) -> Arm:
    name = group.name
    members = [Subject(name, name, style, one.run, read_metrics(one.run)) for one in group.records]
    return Arm(name, style, members)


def distinct(arms: Sequence[Arm]) -> list[Arm]:
    """Return arms to be drawn in one panel, with looks of their own if some share a colour."""
    if len({arm.look.color for arm in arms}) == len(arms):
        return list(arms)
    return [_in_look(arm, look(place)) for place, arm in enumerate(arms)]


def some(groups: Sequence[Group], tag: str, most: int) -> list[int]:
    """Return the numbers of at most `most` groups, in their order: evenly spaced from the best to the worst
    or, where it is not known which way is better, from the highest to the lowest.

    Groups of which a run diverged or has not the metric count as worst.
    """
    if len(groups) <= most:
        return list(range(len(groups)))
    known = [
        (found.mean, index)
        for index, group in enumerate(groups)
        if group.is_complete(tag) and (found := group.estimate(tag))
    ]
    ranks = [index for _, index in sorted(known, reverse=metrics.of(tag).better != "lower")]
    ranks += [index for index in range(len(groups)) if index not in ranks]
    picked = np.linspace(0, len(groups) - 1, most).round().astype(int)
    return sorted(ranks[place] for place in picked)


def representative(group: Group, arm: Arm) -> Subject:
    """Return the run of a group that has the lowest seed, under the group's name."""
    seeds = [record.config.get("seed", 0) for record in group.records]
    return arm.members[seeds.index(min(seeds))]


def faceted(groups: Sequence[Group], arms: Sequence[Arm]) -> Faceted | None:
    """Split groups by all knobs but one; None where each has too many values or leaves too many parts.

    The knob that is left is the first in the order in which people study them.
    """
    firsts = [group.records[0] for group in groups]
    swept = knobs(firsts)
    for knob in swept:
        if any(knob.key not in facts(record.config) for record in firsts):
            continue  # a norm without a momentum stands nowhere among momenta
        titles = [_rest(record, swept, knob) for record in firsts]
        if 2 <= len(knob.values) <= MOST_CURVES and 2 <= len(set(titles)) <= MOST_FACETS:
            return _split(knob, titles, firsts, arms)
    return None


def _split(knob: Knob, titles: Sequence[str], firsts: Sequence[Record], arms: Sequence[Arm]) -> Faceted:
    values = [repr(value) for value in knob.values]
    names = [phrase(knob.key, value) for value in knob.values]
    places = [values.index(repr(facts(record.config)[knob.key])) for record in firsts]
    looked = [_in_look(arm, look(place)) for arm, place in zip(arms, places, strict=True)]
    parts: dict[str, list[Arm]] = {}
    for title, arm in zip(titles, looked, strict=True):
        parts.setdefault(title, []).append(arm)
    facets = [Facet(title, found) for title, found in parts.items()]
    legend = [replace(looked[places.index(place)], name=name) for place, name in enumerate(names)]
    return Faceted(facets, legend, looked)


def _in_look(arm: Arm, style: Look) -> Arm:
    return replace(arm, look=style, members=[replace(run, look=style) for run in arm.members])


def _rest(record: Record, swept: Sequence[Knob], knob: Knob) -> str:
    fact = facts(record.config)
    return ", ".join(
        phrase(other.key, fact[other.key]) for other in swept if other != knob and other.key in fact
    )
