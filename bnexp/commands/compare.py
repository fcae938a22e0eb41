"""`bnexp compare`: what the choices did to the metrics, averaged over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bnexp.analysis.groups import Baseline, Group, grouped, mixture, newest
from bnexp.analysis.query import answers, check_key, is_filter, parse
from bnexp.analysis.records import Record
from bnexp.display import comparison
from bnexp.display.columns import wide_console
from bnexp.display.comparison import Comparison
from bnexp.display.export import Form, write
from bnexp.errors import ConfigError, suggestion
from bnexp.metrics import COMPARED


@dataclass(frozen=True)
class CompareOptions:
    """How to compare; see `bnexp compare --help`."""

    group_by: str | None = None
    baseline: Sequence[str] = ()
    metrics: Sequence[str] = field(default=COMPARED)
    minimum: str | None = None
    maximum: str | None = None
    top: int | None = None


def compare(words: Sequence[str], options: CompareOptions, *, runs_dir: str, form: Form) -> None:
    """Print a row for each configuration, with the means of its seeds.

    Raises:
        CheckpointError, ConfigError: `words` or options cannot be understood, or there is nothing to compare.
    """
    records, notes = answers(words, Path(runs_dir))
    found = compared(records, options, notes)
    if form.wanted():
        write(comparison.data(found), form)
    else:
        comparison.show(wide_console(), found)


def compared(records: Sequence[Record], options: CompareOptions, notes: Sequence[str] = ()) -> Comparison:
    """Group, measure and order.

    Raises:
        ConfigError: an option that these runs do not allow.
    """
    order = options.minimum or options.maximum
    if options.minimum and options.maximum:
        raise ConfigError("give --min or --max, not both")
    for tag in (*options.metrics, *([order] if order else [])):
        _check_metric(tag, records)
    kept = newest(records)
    if repeated := len(records) - len(kept):
        notes = [*notes, f"{repeated} left out that a newer run of the same configuration repeats"]
    keys = [key.strip() for key in options.group_by.split(",")] if options.group_by else ()
    groups = _ordered(grouped(kept, keys), order, descending=options.maximum is not None)[: options.top]
    if keys and (mixed := mixture(groups, keys)):
        notes = [*notes, f"rows average over {', '.join(mixed)} too: --group-by keeps apart what it names"]
    baseline = None
    if options.baseline:
        if wrong := [word for word in options.baseline if not is_filter(word)]:
            raise ConfigError(f"--baseline takes KEY=VALUE, such as norm=builtin; got {wrong[0]!r}")
        conditions = [parse(word) for word in options.baseline]
        for condition in conditions:
            check_key(condition, kept)
        baseline = Baseline(conditions, kept)
    return Comparison(groups, options.metrics, baseline, notes)


def _ordered(groups: Sequence[Group], tag: str | None, *, descending: bool) -> list[Group]:
    """Groups that have no such metric come last."""
    if tag is None:
        return list(groups)
    means = {group.name: found.mean for group in groups if (found := group.estimate(tag)) is not None}
    sign, last = -1 if descending else 1, math.inf
    return sorted(groups, key=lambda group: sign * means[group.name] if group.name in means else last)


def _check_metric(tag: str, records: Sequence[Record]) -> None:
    if any(record.metric(tag) is not None for record in records):
        return
    known = {key for record in records for key in record.result if record.metric(key) is not None}
    if not known or tag in COMPARED:
        return
    known |= {"step_time_ms"}
    hint = suggestion(tag, known) or f"; they have {', '.join(sorted(known))}"
    raise ConfigError(f"no run has the metric {tag!r}{hint}")
