"""The combinations of a sweep's words, composed and not built, so that misspelt words are told at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bnexp.composition import expand
from bnexp.composition.compose import Composition, compose
from bnexp.errors import ConfigError


@dataclass(frozen=True)
class Request:
    """What a person typed after `bnexp train -m`.

    Args:
        words: with lists of values; trials: more words for each row of a trial file.
        paired: groups of keys whose values go together, first with first.
    """

    words: Sequence[str]
    plugins: Sequence[str] = ()
    trials: Sequence[Sequence[str]] = ((),)
    paired: Sequence[Sequence[str]] = ()


def combinations(request: Request) -> list[list[str]]:
    """Return the words of each combination: of the lists in `words`, times the trials."""
    jobs = expand.expand(request.words, request.paired)
    return [[*job, *trial] for job in jobs for trial in request.trials]


def composed(request: Request) -> list[tuple[list[str], Composition]]:
    """Return each combination with what it composes to.

    Raises:
        ConfigError: a word is wrong; holds all reasons.
    """
    found, wrong = [], []
    for job_words in combinations(request):
        try:
            composition = compose(job_words, request.plugins)
        except ConfigError as error:
            wrong += error.problems
            continue
        found.append((job_words, composition))
        wrong += composition.problems
        if composition.config.output_dir is not None:
            wrong.append("output_dir names one folder; leave it out of a sweep and use runs_dir")
    if wrong:
        raise ConfigError(list(dict.fromkeys(wrong)))
    return found
