"""The jobs of a sweep: every combination of the values that its words list."""

from __future__ import annotations

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from bnexp.composition.mistakes import first_line
from bnexp.composition.words import rewrite
from bnexp.errors import ConfigError


def expand(words: Sequence[str]) -> list[list[str]]:
    """Return each job's words; `norm=custom,none seed=range(0,3)` gives six jobs.

    Raises:
        ConfigError: a word that Hydra's grammar does not know.
    """
    try:
        overrides = OverridesParser.create().parse_overrides(rewrite(list(words)))
        batches = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    except HydraException as error:
        raise ConfigError(f"the words of the sweep cannot be read: {first_line(error)}") from error
    return [list(job) for batch in batches for job in batch]
