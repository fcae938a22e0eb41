"""What TensorBoard's run table shows, sorts and filters by: the knobs of a run, and how it ended.

All of it stands in the run's own folder, so a run stays one run in TensorBoard's list. The summary that
would name the table's columns is left out: TensorBoard takes that of one arbitrary run for all. Without it
the columns are the knobs of all runs with their true ranges, those that differ first, and all scalars.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.plugins.hparams import api_pb2, metadata  # type: ignore[import-untyped]
from tensorboard.plugins.hparams.plugin_data_pb2 import (  # type: ignore[import-untyped]
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)

from bnexp.choices import BUILT
from bnexp.config import KNOBS, TrainConfig, value_at
from bnexp.shorthand import NORMS, SHORTHANDS, norm_values
from bnexp.statuses import STATUSES, Status
from bnexp.telemetry.event_file import EventFile
from bnexp.telemetry.summaries import of_plugin

STUDIED = tuple(
    key for key, knob in KNOBS.items() if knob.phrase and not knob.folder and key not in SHORTHANDS
)
END = ".end"

Knobs = Mapping[str, str | float | bool]


def knobs(config: TrainConfig) -> dict[str, str | float | bool]:
    """Return the knobs that can tell runs apart, flat, each of one type in all runs.

    The choice of a group and the studied knobs stand under their own names, the knobs of a choice as
    `norm.affine`, but `optimizer.lr` as `lr`. `momentum` is text, `none` for the cumulative average. None and
    `auto` are left out: TensorBoard cannot sort text among numbers. So are the knobs of the head norm where
    they are the norm's. `momentum` and `eps` are those that the norm has.
    """
    found: dict[str, Any] = {group: config.choices.get(group) for group in BUILT}
    found |= {name: value_at(config, name) for name in STUDIED}
    if config.freeze_norm.after is None:
        del found["freeze_norm.what"]
    own = norm_values(vars(config))
    for group in BUILT:
        if group != "head_norm" or config.head_norm != config.norm:
            found |= _knobs_of(group, getattr(config, group), own)
    found |= own
    if "momentum" in own:
        found["momentum"] = _momentum(own["momentum"])
    found["lr"] = found.pop("optimizer.lr", None)
    return {name: value for name, value in found.items() if value is not None and value != "auto"}


def session_start(knobs: Knobs) -> Summary:
    """Return the summary that begins a run in the table."""
    start = SessionStartInfo(start_time_secs=time.time())
    for name, value in knobs.items():
        kind = {bool: "bool_value", str: "string_value"}.get(type(value), "number_value")
        setattr(start.hparams[name], kind, value)
    return _summary("session_start_info", start)


def end_session(folder: Path, status: Status) -> None:
    """Say in TensorBoard how the run in `folder` ended: success, failure for `diverged` and `failed`.

    An interrupted run has not ended: its status stays unknown, as that of a run that was killed. The end is
    an event file of its own, so that a run that goes on after a failure can take it back: of several ends
    TensorBoard believes the first.
    """
    if STATUSES[status].board is not None:
        with closing(EventFile(folder, start=None, suffix=END)) as events:
            events.add(session_end(status), 0)
            events.mark()


def session_end(status: Status) -> Summary:
    """Return the summary that ends a run in the table, with a status that TensorBoard has a name for."""
    end = SessionEndInfo(status=api_pb2.Status.Value(STATUSES[status].board), end_time_secs=time.time())
    return _summary("session_end_info", end)


def take_back_end(folder: Path) -> None:
    """Remove what `end_session` wrote: the run goes on."""
    for file in folder.glob(f"events.out.tfevents.*{END}"):
        file.unlink()


def _knobs_of(group: str, node: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """Return a choice's knobs, those of norms without the momentum and eps that are `told` at the top."""
    return {
        f"{group}.{name}": str(value) if isinstance(value, (list, tuple)) else value
        for name, value in node.items()
        if not name.startswith("_") and not (group in NORMS and name in told and value == told[name])
    }


def _momentum(value: Any) -> str:
    """Return a momentum as text, one type for all runs."""
    return "none" if value is None else f"{value:g}" if isinstance(value, (int, float)) else str(value)


def _summary(field: str, data: SessionStartInfo | SessionEndInfo) -> Summary:
    content = metadata.create_summary_metadata(HParamsPluginData(**{field: data}))
    return of_plugin(f"_hparams_/{field}", content, metadata.NULL_TENSOR)
