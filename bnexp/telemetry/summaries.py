"""What TensorBoard's event files hold besides scalars: summaries of histograms, images and plugins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tensorboard.compat.proto.summary_pb2 import (  # type: ignore[import-untyped]
    HistogramProto,
    Summary,
)

from bnexp.protocols import Histogram


def of_plugin(tag: str, metadata: Any, tensor: Any) -> Summary:
    """Return the summary of a page that a plugin of TensorBoard's draws from `tensor`, a TensorProto."""
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])


def of_image(tag: str, png: bytes, height: int, width: int) -> Summary:
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def of_histograms(histograms: Mapping[str, Histogram]) -> Summary:
    """Return the summary of histograms by tag; one that counts nothing is left out."""
    drawn = {tag: as_drawn(histogram) for tag, histogram in histograms.items() if any(histogram.counts)}
    return Summary(
        value=[Summary.Value(tag=tag, histo=_proto(histogram)) for tag, histogram in drawn.items()]
    )


def _proto(histogram: Histogram) -> HistogramProto:
    return HistogramProto(
        min=histogram.minimum,
        max=histogram.maximum,
        num=sum(histogram.counts),
        sum=histogram.total,
        sum_squares=histogram.sum_squares,
        bucket_limit=histogram.limits,
        bucket=histogram.counts,
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
