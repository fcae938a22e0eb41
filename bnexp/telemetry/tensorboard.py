"""TensorBoard's event files: the scalars of the metrics file, and the histograms."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnexp.protocols import Histogram, Measurement

FLUSH_S = 10  # a killed run loses no more than this; the library's own default is two minutes
QUEUE = 100


class TensorBoardWriter:
    """One event file in the run's own folder: no folder, and so no run in TensorBoard's list, beside it.

    Values are float32 there; not-a-number and infinities are kept.

    Args:
        resume_step: the step that the run goes on from. TensorBoard then forgets everything at this step and
            later, so this step's row must be written again. None for a new run.
    """

    def __init__(self, folder: Path, resume_step: int | None = None) -> None:
        # Here and not above: reading a run must not wait for TensorBoard.
        from torch.utils.tensorboard import SummaryWriter

        if resume_step is not None:
            _wait_for_a_later_second(folder)
        self._writer = SummaryWriter(str(folder), purge_step=resume_step, max_queue=QUEUE, flush_secs=FLUSH_S)
        self._events: Any = self._writer.file_writer

    def write(self, step: int, measurement: Measurement) -> None:
        """Write what was measured at `step`; a histogram that counts nothing is left out."""
        if measurement.scalars:
            self._write_scalars(step, measurement.scalars)
        for tag, histogram in measurement.histograms.items():
            self._write_histogram(step, tag, histogram)

    def flush(self) -> None:
        """Wait until all is in the file."""
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

        # One event for the whole row: `add_scalar` makes an event for each tag, at four times the cost.
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._events.add_summary(Summary(value=values), step)

    def _write_histogram(self, step: int, tag: str, histogram: Histogram) -> None:
        num = sum(histogram.counts)
        if num == 0:
            return
        self._writer.add_histogram_raw(
            tag,
            min=histogram.minimum,
            max=histogram.maximum,
            num=num,
            sum=histogram.total,
            sum_squares=histogram.sum_squares,
            bucket_limits=histogram.limits,
            bucket_counts=histogram.counts,
            global_step=step,
        )


def _wait_for_a_later_second(folder: Path) -> None:
    """TensorBoard reads a run's files in the order of their names, which start with the second they began."""
    seconds = (file.name.split(".")[3] for file in folder.glob("events.out.tfevents.*"))
    newest = max((int(second) for second in seconds if second.isdigit()), default=0)
    while int(time.time()) == newest:
        time.sleep(0.01)
