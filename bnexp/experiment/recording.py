"""What a run leaves besides checkpoints and result: rows, histograms, and pages for TensorBoard."""

from __future__ import annotations

from bnexp.composition.compose import as_yaml
from bnexp.config import Telemetry, TrainConfig
from bnexp.engine.evaluate import predict
from bnexp.experiment.assembly import Parts
from bnexp.experiment.going_on import Start
from bnexp.runs.directory import RunDirectory
from bnexp.telemetry.custom_scalars import layout
from bnexp.telemetry.event_file import EventFile
from bnexp.telemetry.hparams import knobs, session_start, take_back_end
from bnexp.telemetry.jsonl import MetricsFile, closed_on_error
from bnexp.telemetry.pages import config_page, confusion, confusion_image, input_images
from bnexp.telemetry.run_writer import RunWriter


class Recording:
    """The open files of one run.

    Attributes:
        lost: what is missing from the rows of a run that goes on, None where nothing is.
    """

    def __init__(self, directory: RunDirectory, config: TrainConfig, start: Start) -> None:
        self._config = config
        metrics = MetricsFile(directory.metrics_file, start.step, start.metrics)
        self.lost = metrics.lost
        with closed_on_error(metrics):
            if start.step is not None:
                take_back_end(directory.path)
            self._board = EventFile(directory.path, start=start.step or 0)
        self.writer = RunWriter(metrics, self._board, start.events)

    def open_pages(self, parts: Parts, command: str) -> None:
        """Write the knobs that TensorBoard sorts runs by and, unless telemetry is none, what describes it."""
        self._board.add(session_start(knobs(self._config)), 0)
        if not on(self._config.telemetry):
            return
        tracking = [
            site.name for site in parts.sites if getattr(site.module, "running_mean", None) is not None
        ]
        self._board.add(layout([site.name for site in parts.sites], tracking), 0)
        self._board.add(config_page(command, as_yaml(self._config)), 0)
        if len(parts.pixels.mean) in (1, 3):
            inputs = parts.batches.group(0)[0].inputs
            self._board.add(input_images(inputs, parts.pixels.mean, parts.pixels.std), 0)

    def close_pages(self, parts: Parts, step: int) -> None:
        """Write the confusion matrix of the weights that the network now has, on the test split."""
        if on(self._config.telemetry):
            learner, labels = parts.learner, parts.splits.test.labels
            predictions = predict(learner.model, parts.test, learner.precision)
            classes = parts.splits.classes
            counts = confusion(labels.cpu(), predictions.cpu(), len(classes))
            self._board.add(confusion_image(counts, classes), step)


def on(telemetry: Telemetry) -> bool:
    return telemetry.scalars_every is not None or telemetry.histograms_every is not None
