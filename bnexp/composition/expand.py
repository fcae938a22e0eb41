"""The jobs of a sweep: every combination of the values that its words list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from bnexp.composition.choices import groups
from bnexp.composition.mistakes import first_line, parse
from bnexp.errors import ConfigError


class Folders:
    """The choices that `glob` picks from; takes the place of Hydra's config loader."""

    def get_group_options(self, group: str, results_filter: Any = None) -> list[str]:
        return sorted(groups().get({"head_norm": "norm"}.get(group, group), {}))


def expand(words: Sequence[str]) -> list[list[str]]:
    """Return each job's words; `norm=custom,none seed=range(0,3)` gives six jobs.

    Raises:
        ConfigError: words that Hydra's grammar does not know, or that list no value at all.
    """
    parsed, mistakes = parse(words)
    for word, override in parsed.items():
        override.config_loader = Folders()  # type: ignore[assignment]
        if override.is_sweep_override():
            mistakes += _listless(word, override)
    if mistakes:
        raise ConfigError(mistakes)
    (jobs,) = BasicSweeper.split_arguments(list(parsed.values()), max_batch_size=None)
    return [list(job) for job in jobs]


def _listless(word: str, override: Override) -> list[str]:
    if not override.is_discrete_sweep():
        return [f"{word}: a sweep needs values one by one, as in KEY=1,2 or KEY=range(0,3)"]
    try:
        values = any(True for _ in override.sweep_string_iterator())
    except (HydraException, ValueError) as error:
        return [f"{word}: {first_line(error)}"]
    return [] if values else [f"{word}: lists no value"]
