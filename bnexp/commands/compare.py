"""`bnexp compare`: what the choices did to the metrics, averaged over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bnexp import metrics
from bnexp.analysis.groups import Baseline, Group, grouped, mixture, newest
from bnexp.analysis.query import answers, check_key, is_filter, parse
from bnexp.analysis.records import ABSENT, Record
from bnexp.analysis.staleness import shortfall
from bnexp.analysis.tuning import BY, tuned
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
    best_of: str | None = None
    by: str | None = None
    uncorrected: bool = False


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
    keys, chosen = _listed(options.group_by), _listed(options.best_of)
    if keys and chosen:
        raise ConfigError("give --best-of or --group-by, not both")
    if options.by and not chosen:
        raise ConfigError("--by says how --best-of chooses: give --best-of KEY too")
    if chosen:
        best = tuned(kept, chosen, options.by or BY)
        notes = [*notes, *best.notes, f"{len(kept) - len(best.records)} runs with other values left out"]
        kept = list(best.records)
    groups = _ordered(grouped(kept, keys), order, descending=options.maximum is not None)[: options.top]
    groups = [_with_choices(group, chosen) for group in groups]
    if keys and (mixed := mixture(groups, keys)):
        notes = [*notes, f"rows average over {', '.join(mixed)} too: --group-by keeps apart what it names"]
    baseline = _baseline(options.baseline, kept, chosen) if options.baseline else None
    notes = [*notes, *_shortfalls(groups)]
    return Comparison(groups, options.metrics, baseline, notes, corrected=not options.uncorrected)


def _listed(keys: str | None) -> list[str]:
    return [key.strip() for key in keys.split(",")] if keys else []


def _baseline(words: Sequence[str], records: Sequence[Record], chosen: Sequence[str]) -> Baseline:
    if wrong := [word for word in words if not is_filter(word)]:
        raise ConfigError(f"--baseline takes KEY=VALUE, such as norm=builtin; got {wrong[0]!r}")
    conditions = [parse(word) for word in words]
    for condition in conditions:
        check_key(condition, records)
    return Baseline(conditions, records, chosen)


def _with_choices(group: Group, keys: Sequence[str]) -> Group:
    """Return a group whose choices hold these keys, also where all groups have the same values."""
    values = {key: value for key in keys if (value := group.records[0].value(key)) is not ABSENT}
    return replace(group, choices={**group.choices, **values})


def _shortfalls(groups: Sequence[Group]) -> list[str]:
    """Say of which groups evaluation tells less than the network can; see `shortfall`."""
    found = []
    for group in groups:
        told = [(record, text) for record in group.records if (text := shortfall(record.result))]
        if told:
            record, text = told[0]
            how_many = f" in {len(told)} of {len(group.records)} runs" if len(group.records) > 1 else ""
            found.append(f"{group.name}{how_many}: {text}; see why: bnexp eval {record.run.path}")
    return found


def _ordered(groups: Sequence[Group], tag: str | None, *, descending: bool) -> list[Group]:
    """Groups of which a run diverged come after the others, those that have no such metric last."""
    if tag is None:
        return list(groups)
    sign = -1 if descending else 1

    def place(group: Group) -> tuple[int, float]:
        found = group.estimate(tag)
        return (2, 0.0) if found is None else (not group.is_complete(tag), sign * found.mean)

    return sorted(groups, key=place)


def _check_metric(tag: str, records: Sequence[Record]) -> None:
    """Refuse a word that means no metric; one that means a metric may be without a number in all runs."""
    if any(record.metric(tag) is not None or tag in record.result for record in records):
        return
    known = {key for record in records for key in record.result if record.metric(key) is not None}
    if not known or tag in COMPARED or tag in metrics.comparable():
        return
    known |= {"step_time_ms"}
    hint = suggestion(tag, known) or f"; they have {', '.join(sorted(known))}"
    raise ConfigError(f"no run has the metric {tag!r}{hint}")
