"""TensorBoard's event files: the scalars of the metrics file, the histograms, and pages about the run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bnexp.protocols import Histogram, Measurement
from bnexp.telemetry.event_file import EventFile
from bnexp.telemetry.hparams import take_back_end

FLUSH_S = 10  # a killed run loses no more than this; the library's own default is two minutes


class TensorBoardWriter:
    """The event files of one run in its own folder: no folder, and so no other run in TensorBoard's list.

    Values are float32 there; not-a-number and infinities are kept.

    Args:
        resume_step: the step that the run goes on from. TensorBoard then forgets everything at this step and
            later, so this step's row must be written again. None for a new run.
    """

    def __init__(self, folder: Path, resume_step: int | None = None) -> None:
        if resume_step is not None:
            take_back_end(folder)
            _wait_for_a_later_second(folder)
        # A new run too says where it starts: at a first start TensorBoard's slow loader forgets nothing.
        self._start = resume_step or 0
        self._events = EventFile(folder, purge_step=self._start, flush_s=FLUSH_S)

    def write(self, step: int, measurement: Measurement) -> None:
        """Write what was measured at `step`; a histogram that counts nothing is left out."""
        if measurement.scalars:
            self._events.add_scalars(measurement.scalars, step)
        drawn = {
            tag: as_drawn(histogram)
            for tag, histogram in measurement.histograms.items()
            if any(histogram.counts)
        }
        if drawn:
            self._events.add_summary(_summary(drawn), step)

    def add(self, summary: Any, step: int) -> None:
        """Write a summary of another kind: knobs, a layout of charts, text, an image.

        One of a step before the one that the run goes on from is there already and left out.
        """
        if step >= self._start:
            self._events.add_summary(summary, step)

    def flush(self) -> None:
        """Wait until all is in the file."""
        self._events.flush()

    def close(self) -> None:
        self._events.close()


def _summary(histograms: Mapping[str, Histogram]) -> Any:
    # Here and not above: reading a run must not wait for TensorBoard.
    from tensorboard.compat.proto.summary_pb2 import (  # type: ignore[import-untyped]
        HistogramProto,
        Summary,
    )

    return Summary(
        value=[
            Summary.Value(
                tag=tag,
                histo=HistogramProto(
                    min=one.minimum,
                    max=one.maximum,
                    num=sum(one.counts),
                    sum=one.total,
                    sum_squares=one.sum_squares,
                    bucket_limit=one.limits,
                    bucket=one.counts,
                ),
            )
            for tag, one in histograms.items()
        ]
    )


def as_drawn(histogram: Histogram) -> Histogram:
    """Return `histogram` so that TensorBoard draws its buckets as they are.

    The empty buckets at both ends are gone: the fast loader draws an axis over all of them. Minimum and
    maximum, which TensorBoard takes for the outer edges, become the edges of their bucket where they lie
    beyond it: one value of 1e30 would leave a picture of a single bar. The first of all buckets counts as
    wide as its neighbour. Equal values keep their place, as a bucket without width.

    Raises:
        ValueError: it counts nothing.
    """
    limits, counts = histogram.limits, histogram.counts
    if not any(counts):
        raise ValueError("a histogram to be drawn must count something, got only zeros")
    filled = [bucket for bucket, count in enumerate(counts) if count > 0]
    first, last = filled[0], filled[-1]
    lower = [2 * limits[0] - limits[min(1, len(limits) - 1)], *limits[:-1]]
    left = histogram.minimum if lower[first] < histogram.minimum <= limits[first] else lower[first]
    right = histogram.maximum if lower[last] < histogram.maximum <= limits[last] else limits[last]
    kept = slice(first, last + 1)
    return replace(histogram, limits=limits[kept], counts=counts[kept], minimum=left, maximum=right)


def _wait_for_a_later_second(folder: Path) -> None:
    """TensorBoard reads a run's files in the order of their names, which start with the second they began."""
    seconds = (file.name.split(".")[3] for file in folder.glob("events.out.tfevents.*"))
    newest = max((int(second) for second in seconds if second.isdigit()), default=0)
    while int(time.time()) == newest:
        time.sleep(0.01)
