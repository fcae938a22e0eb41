"""The charts on TensorBoard's Custom Scalars page: what is to be seen side by side, for all runs shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

OVERVIEW = {
    "loss: train, val, test": "loss/(train|val|test)$",
    "accuracy: train, val, test": "accuracy/(train|val|test)$",
    "learning rate": "lr$",
    "length of the gradient": "grad_norm$",
}
PAGE = 12  # charts of a category that TensorBoard shows together
GAPS = {
    "means, in standard deviations": "running_gap/.+/mean$",
    "variances, log ratio": "running_gap/.+/var$",
}


def layout(layers: Sequence[str], tracking: Sequence[str]) -> Any:
    """Return the summary that lays the page out; of charts that several runs ask for, TensorBoard shows one.

    Percentiles are one band a layer, from the 15th to the 85th around the 50th, before the norm and after it.

    Args:
        layers: the places of norms, by qualified name, in the order of the network.
        tracking: those with running statistics, whose chosen channels get a chart each.
    """
    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout  # type: ignore[import-untyped]

    categories = [_category("loss and accuracy", [_lines(*chart) for chart in OVERVIEW.items()])]
    for side, title in (("in", "before the norm"), ("out", "after the norm")):
        bands = [_band(layer, f"percentile/{layer}/{side}") for layer in _as_shown(layers)]
        categories.append(_category(f"percentiles 15, 50, 85 {title}", bands))
    if tracking:
        gaps = [_lines(*chart) for chart in GAPS.items()]
        categories.append(_category("running statistics against the batch's", gaps))
    for buffer, title in (("running_mean", "running mean"), ("running_var", "running variance")):
        traces = [_lines(layer, rf"{buffer}/{re.escape(layer)}/channel_\d+$") for layer in tracking]
        categories.append(_category(f"{title} of single channels", traces))
    return _summary(Layout(category=[category for category in categories if category.chart]))


def _as_shown(layers: Sequence[str]) -> list[str]:
    """Return the layers so that their bands stand in the order of the network.

    TensorBoard (2.21) shows the bands of a page, unlike lines, from the last to the first.
    """
    return [layer for at in range(0, len(layers), PAGE) for layer in reversed(layers[at : at + PAGE])]


def _category(title: str, charts: Sequence[Any]) -> Any:
    from tensorboard.plugins.custom_scalar.layout_pb2 import Category

    return Category(title=title, chart=charts)


def _lines(title: str, pattern: str) -> Any:
    """Return a chart with a line for each tag that begins with a match of `pattern`."""
    from tensorboard.plugins.custom_scalar.layout_pb2 import Chart, MultilineChartContent

    return Chart(title=title, multiline=MultilineChartContent(tag=[pattern]))


def _band(title: str, prefix: str) -> Any:
    from tensorboard.plugins.custom_scalar.layout_pb2 import Chart, MarginChartContent

    series = MarginChartContent.Series(value=f"{prefix}/50", lower=f"{prefix}/15", upper=f"{prefix}/85")
    return Chart(title=title, margin=MarginChartContent(series=[series]))


def _summary(layout: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
    from tensorboard.plugins.custom_scalar import metadata  # type: ignore[import-untyped]
    from tensorboard.util.tensor_util import make_tensor_proto  # type: ignore[import-untyped]

    tensor = make_tensor_proto(layout.SerializeToString())
    value = Summary.Value(
        tag=metadata.CONFIG_SUMMARY_TAG, metadata=metadata.create_summary_metadata(), tensor=tensor
    )
    return Summary(value=[value])
