"""The combinations that a sweep's words ask for: of their lists of values, times the trials of a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from bnexp.composition import expand
from bnexp.composition.drafts import draft
from bnexp.composition.words import key
from bnexp.errors import ConfigError

LOOKED_AT = 20  # combinations; each takes Hydra a tenth of a second
MISTAKEN = 3  # of them; what is wrong in one takes it longer, and a wrong word may be in all


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
    """Return the words of each combination: of the lists in `words`, times the trials.

    Raises:
        ConfigError: a word in them is misspelt, of those that show it without torch.
    """
    jobs = expand.expand(request.words, request.paired)
    found = [_joined(job, trial) for job in jobs for trial in request.trials]
    wrong = list(islice(_mistaken(islice(_covering(found), LOOKED_AT)), MISTAKEN))
    if wrong:
        raise ConfigError(list(dict.fromkeys(line for problems in wrong for line in problems)))
    return found


def _joined(words: Sequence[str], trial: Sequence[str]) -> list[str]:
    """Return a trial's words, and those of the others whose keys it leaves open."""
    keys = {key(word) for word in trial}
    return [*(word for word in words if key(word) not in keys), *trial]


def _mistaken(jobs: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    """Yield what is wrong with each job that is wrong."""
    for words in jobs:
        try:
            draft(words)
        except ConfigError as error:
            yield error.problems


def _covering(jobs: Sequence[Sequence[str]]) -> Iterator[Sequence[str]]:
    """Yield few jobs that together hold every word, those with most new words first."""
    left = set().union(*jobs)
    while left:
        chosen = max(jobs, key=lambda job: len(left.intersection(job)))
        yield chosen
        left.difference_update(chosen)
