"""The histograms of a run, and the knobs that TensorBoard sorts it by, read from its event files."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnexp import plain_files
from bnexp.errors import CheckpointError
from bnexp.runs.directory import RunDirectory

if TYPE_CHECKING:
    from bnexp.runs.distribution import Distribution

PATTERN = "events.out.tfevents.*"
HEADER = struct.Struct(
    "<QI"
)  # the length of a record and its checksum; the record and another checksum follow
CHECKSUM_BYTES = 4
KNOBS_TAG = "_hparams_/session_start_info"

Histograms = dict[str, list[tuple[int, "Distribution"]]]


def read_histograms(run: RunDirectory, prefix: str) -> Histograms:
    """Return the histograms whose tag starts with `prefix`, by tag in the order of the network, then by step.

    The files of a resumed run count in the order in which they were begun, also within one second; each
    forgets what the earlier ones say of its own steps and later, as in TensorBoard. A record torn at a
    file's end is left out. Checksums are not verified: in Python that takes sixty times as long as the rest.

    Raises:
        CheckpointError: a file cannot be read or holds something else.
    """
    begun: list[tuple[float, str, list[Any]]] = []
    for path in run.path.glob(PATTERN):
        events = list(_events(path))
        if events:
            begun.append((events[0].wall_time, path.name, events))
    found: dict[str, dict[int, Any]] = {}
    for _, _, events in sorted(begun, key=lambda entry: entry[:2]):
        for event in events:
            if _starts_over(event):
                _forget(found, event.step)
            for value in event.summary.value:
                if value.HasField("histo") and value.tag.startswith(prefix) and value.histo.num > 0:
                    found.setdefault(value.tag, {})[event.step] = value.histo
    return {
        tag: [(step, _read(steps[step])) for step in sorted(steps)] for tag, steps in found.items() if steps
    }


def read_knobs(run: RunDirectory) -> dict[str, str | float | bool]:
    """Return the columns that the run has in TensorBoard's run table; none where its files name none.

    Raises:
        CheckpointError: a file cannot be read or holds something else.
    """
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData  # type: ignore[import-untyped]

    for path in sorted(run.path.glob(PATTERN)):
        for event in _events(path):
            for value in event.summary.value:
                if value.tag == KNOBS_TAG:
                    data = HParamsPluginData.FromString(value.metadata.plugin_data.content)
                    knobs = data.session_start_info.hparams
                    return {name: getattr(knob, knob.WhichOneof("kind")) for name, knob in knobs.items()}
    return {}


def _events(path: Path) -> Iterator[Any]:
    """Yield the events of one file."""
    # Here and not above: half the time of a short command.
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]

    try:
        content = memoryview(plain_files.read_bytes(path))
        for record in _records(content):
            yield Event.FromString(record)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    except DecodeError as error:
        raise CheckpointError(
            f"{path} must hold TensorBoard's events, it is damaged: move it away"
        ) from error


def _records(content: memoryview) -> Iterator[bytes]:
    position = 0
    while position + HEADER.size <= len(content):
        length, _ = HEADER.unpack_from(content, position)
        position += HEADER.size
        if position + length > len(content):
            return
        yield bytes(content[position : position + length])
        position += length + CHECKSUM_BYTES


def _starts_over(event: Any) -> bool:
    return bool(event.HasField("session_log") and event.session_log.status == event.session_log.START)


def _forget(found: dict[str, dict[int, Any]], step: int) -> None:
    for steps in found.values():
        for late in [known for known in steps if known >= step]:
            del steps[late]


def _read(histo: Any) -> Distribution:
    from bnexp.runs.distribution import distribution

    return distribution(
        histo.bucket_limit,
        histo.bucket,
        minimum=histo.min,
        maximum=histo.max,
        total=histo.sum,
        sum_squares=histo.sum_squares,
    )
