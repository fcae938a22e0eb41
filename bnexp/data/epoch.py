"""How the examples of an epoch fall into updates, and an update into forward passes."""

from __future__ import annotations

from dataclasses import dataclass

from bnexp.errors import ConfigError


@dataclass(frozen=True)
class Epoch:
    """The sizes of everything in an epoch; `TrainBatches` cuts by it, and whoever counts passes asks it.

    An update takes the next batch_size * accumulate examples, in passes of `batch_size`. The last update of
    an epoch may have fewer passes, and the last of these fewer examples.

    num_examples: those of an epoch, without what is dropped.
    batch_size: examples of a full pass. accumulate: passes of a full update.
    """

    num_examples: int
    batch_size: int
    accumulate: int

    @property
    def steps(self) -> int:
        """Updates of an epoch."""
        return -(-self.passes // self.accumulate)

    @property
    def passes(self) -> int:
        """Forward passes of an epoch."""
        return -(-self.num_examples // self.batch_size)

    @property
    def largest(self) -> int:
        """Examples of the first pass of an epoch, and of every other but the last."""
        return min(self.batch_size, self.num_examples)

    @property
    def last(self) -> int:
        """Examples of the last pass of an epoch."""
        return self.num_examples - (self.passes - 1) * self.batch_size

    def cuts(self, step: int) -> list[tuple[int, int]]:
        """Return where each pass of update number `step` (from 0) starts and stops in its epoch."""
        first = step % self.steps * self.accumulate
        starts = range(first, min(first + self.accumulate, self.passes))
        size = self.batch_size
        return [(at * size, min((at + 1) * size, self.num_examples)) for at in starts]

    def passes_in(self, steps: int) -> int:
        """Return the forward passes of the first `steps` updates of a run."""
        epochs, rest = divmod(steps, self.steps)
        return epochs * self.passes + min(rest * self.accumulate, self.passes)

    def examples_in(self, steps: int) -> int:
        """Return the examples of the first `steps` updates of a run."""
        epochs, rest = divmod(steps, self.steps)
        return epochs * self.num_examples + min(rest * self.accumulate * self.batch_size, self.num_examples)


def epoch_of(num_examples: int, *, batch_size: int, accumulate: int, drop_last: bool | str) -> Epoch:
    """Return the epoch of a split of `num_examples`.

    Args:
        drop_last: when the last pass is left out. "auto": if it holds a single example while others hold
            more; True: if it is short; False: never.
    Raises:
        ConfigError: drop_last is True and no pass would be left.
    """
    left_over = num_examples % batch_size
    if drop_last is True and num_examples < batch_size:
        raise ConfigError(
            f"drop_last=true needs a batch_size of at most {num_examples} (the training images), "
            f"got {batch_size}"
        )
    alone = left_over == 1 and num_examples > 1
    dropped = left_over if drop_last is True else int(drop_last == "auto" and alone)
    return Epoch(num_examples - dropped, batch_size, accumulate)
