"""When telemetry looks, at what, and how often histograms fit into `telemetry.max_megabytes`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

# A bucket's limit and count are 8 bytes each, and empty ones at the ends are not written. Measured over LeNet
# and ResNet-8 with and without norms, at the start and after 30 steps: 24 to 29 buckets a histogram.
FILLED_BUCKETS = 40
BYTES_PER_HISTOGRAM = 16 * FILLED_BUCKETS + 104

LOOKS = {"scalars": (20, 20), "histograms": (5, 200)}  # the least in a run, and the most steps between two
ROUND = (1, 2, 5, 10, 20, 50, 100, 200)  # each divides the longest, so that runs of any length share steps


@dataclass(frozen=True)
class Due:
    """What is to be logged at one step."""

    scalars: bool
    histograms: bool


@dataclass
class Intervals:
    """Steps between scalars and between histograms, from step 0 on; None is never.

    last: the step at which the run ended, once that is known; both are due there too.
    """

    scalars_every: int | None
    histograms_every: int | None
    last: int | None = None

    def at(self, step: int) -> Due:
        return Due(self._due(self.scalars_every, step), self._due(self.histograms_every, step))

    def _due(self, every: int | None, step: int) -> bool:
        return every is not None and (step % every == 0 or step == self.last)


def adapted(every: int | str | None, total_steps: int, kind: Literal["scalars", "histograms"]) -> int | None:
    """Return the steps between looks; "auto" is the longest of some round intervals that suits the run.

    A run then has at least 20 rows of scalars and five histograms besides that of its end, as far as it has
    steps; long ones have scalars every 20 steps and histograms every 200, whatever their length.
    """
    if every != "auto":
        return None if every is None else int(every)
    least, longest = LOOKS[kind]
    fitting = [round_one for round_one in ROUND if round_one <= min(longest, total_steps / least)]
    return max(fitting, default=1)


def histogram_bytes(tags: Iterable[str]) -> int:
    """Return what one histogram for each tag takes in TensorBoard's file, with some room."""
    return sum(BYTES_PER_HISTOGRAM + len(tag.encode()) for tag in tags)


def histogram_interval(
    every: int, total_steps: int, bytes_per_step: int, max_megabytes: float
) -> tuple[int, str | None]:
    """Return the steps between histograms that keep to `max_megabytes` (10^6 bytes), and a note if they grew.

    The interval is the smallest multiple of `every` whose histograms, at steps 0, interval, 2 interval ...
    below `total_steps`, all fit. Step 0 stays even if it does not fit alone.
    """
    wanted = -(-total_steps // every)
    affordable = max(1, int(max_megabytes * 1e6 // bytes_per_step)) if bytes_per_step else wanted
    if wanted <= affordable:
        return every, None
    interval = every * -(-wanted // affordable)
    note = (
        f"histograms are logged every {interval} steps instead of {every}, "
        f"to keep to telemetry.max_megabytes={max_megabytes:g}"
    )
    return interval, note
