"""How often histograms can be kept within `telemetry.max_megabytes`."""

from __future__ import annotations

from collections.abc import Iterable

from bnexp.telemetry.counting import BUCKETS

# One event: limits and counts as float64, the five moments, the step, the time, lengths and checksums.
BYTES_PER_HISTOGRAM = 16 * BUCKETS + 104


def histogram_bytes(tags: Iterable[str]) -> int:
    """Return what one histogram for each tag takes in TensorBoard's file."""
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
