"""The charts on TensorBoard's Custom Scalars page: what is to be seen side by side, for all runs shown."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.plugins.custom_scalar import metadata  # type: ignore[import-untyped]
from tensorboard.plugins.custom_scalar.layout_pb2 import (  # type: ignore[import-untyped]
    Category,
    Chart,
    Layout,
    MarginChartContent,
    MultilineChartContent,
)
from tensorboard.util.tensor_util import make_tensor_proto  # type: ignore[import-untyped]

from bnexp import metrics
from bnexp.telemetry.summaries import of_plugin

CURVES = ("train", "val", "test")
OVERVIEW = {
    **{
        f"{one.title}: {', '.join(CURVES[not one.watched :])}": f"{one.name}/({'|'.join(CURVES)})$"
        for one in metrics.MEASURED
    },
    **{metrics.of(tag).title: f"{tag}$" for tag in ("lr", "grad_norm")},
}
PAGE = 12  # charts of a category that TensorBoard shows together
GAPS = {
    "means, in standard deviations": "running_gap/.+/mean$",
    "variances, log ratio": "running_gap/.+/var$",
}
OVER_SEEDS = {
    "metrics": (*metrics.tags("train", "val"), "grad_norm"),
    "running statistics against the batch's": ("running_gap/.+/mean", "running_gap/.+/var"),
    "medians before and after the norm": ("percentile/.+/in/50", "percentile/.+/out/50"),
}


def layout(layers: Sequence[str], tracking: Sequence[str]) -> Summary:
    """Return the summary that lays the page out; of charts that several runs ask for, TensorBoard shows one.

    Percentiles are one band a layer, from the 15th to the 85th around the 50th, before the norm and after it.

    Args:
        layers: the places of norms, by qualified name, in the order of the network.
        tracking: those with running statistics, whose chosen channels get a chart each.
    """
    categories = [_category("metrics", [_lines(*chart) for chart in OVERVIEW.items()])]
    for side, title in (("in", "before the norm"), ("out", "after the norm")):
        bands = [_percentiles(layer, f"percentile/{layer}/{side}") for layer in _as_shown(layers)]
        categories.append(_category(f"percentiles 15, 50, 85 {title}", bands))
    if tracking:
        gaps = [_lines(*chart) for chart in GAPS.items()]
        categories.append(_category("running statistics against the batch's", gaps))
    for buffer, title in (("running_mean", "running mean"), ("running_var", "running variance")):
        traces = [_lines(layer, rf"{buffer}/{re.escape(layer)}/channel_\d+$") for layer in tracking]
        categories.append(_category(f"{title} of single channels", traces))
    return _summary(categories)


def band(tag: str) -> tuple[str, str]:
    """Return the tags of a band's edges around the mean of `tag`; by name they come last of all scalars."""
    return f"seed_band/{tag}/lower", f"seed_band/{tag}/upper"


def has_band(tag: str) -> bool:
    """Whether the mean of a scalar over seeds is shown with a band."""
    return any(re.fullmatch(pattern, tag) for patterns in OVER_SEEDS.values() for pattern in patterns)


def seeds_layout(tags: Collection[str]) -> Summary:
    """Return the summary that gives the means over seeds their charts: a band for each of `tags` with one.

    All runs of means need the same: of a part of the page that two layouts share, TensorBoard (2.21) loses
    the charts that only the second one has.
    """
    categories = []
    for title, patterns in OVER_SEEDS.items():
        found = [tag for pattern in patterns for tag in tags if re.fullmatch(pattern, tag)]
        charts = [_margin(tag, tag, *band(tag)) for tag in _as_shown(found)]
        categories.append(_category(f"mean ± std over seeds: {title}", charts))
    return _summary(categories)


def _as_shown(names: Sequence[str]) -> list[str]:
    """Return what has bands so that it stands in the given order.

    TensorBoard (2.21) shows the bands of a page, unlike lines, from the last to the first.
    """
    return [name for at in range(0, len(names), PAGE) for name in reversed(names[at : at + PAGE])]


def _category(title: str, charts: Sequence[Chart]) -> Category:
    return Category(title=title, chart=charts)


def _lines(title: str, pattern: str) -> Chart:
    """Return a chart with a line for each tag that begins with a match of `pattern`."""
    return Chart(title=title, multiline=MultilineChartContent(tag=[pattern]))


def _percentiles(title: str, prefix: str) -> Chart:
    return _margin(title, f"{prefix}/50", f"{prefix}/15", f"{prefix}/85")


def _margin(title: str, value: str, lower: str, upper: str) -> Chart:
    series = MarginChartContent.Series(value=value, lower=lower, upper=upper)
    return Chart(title=title, margin=MarginChartContent(series=[series]))


def _summary(categories: Sequence[Category]) -> Summary:
    page = Layout(category=[category for category in categories if category.chart])
    tensor = make_tensor_proto(page.SerializeToString())
    return of_plugin(metadata.CONFIG_SUMMARY_TAG, metadata.create_summary_metadata(), tensor)
