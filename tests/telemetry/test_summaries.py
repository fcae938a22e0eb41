"""TensorBoard's own conversion of what is written draws the counts where they belong, whatever the values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.data_compat import migrate_value
from tensorboard.util.tensor_util import make_ndarray

from bnexp.protocols import Histogram, Measurement
from bnexp.telemetry.event_file import EventFile
from bnexp.telemetry.summaries import as_drawn

LIMITS = [-8.0, -2.0, -0.5, 0.0, 0.5, 2.0, 8.0]
LOWER = [-14.0, *LIMITS[:-1]]
values = st.lists(
    st.one_of(st.floats(-10, 10), st.floats(-1e30, 1e30), st.sampled_from(LIMITS)), min_size=1, max_size=30
)


def counted(numbers):
    """Count as the protocol says: (limits[i-1], limits[i]], the outermost buckets take what lies beyond."""
    x = np.array(numbers)
    buckets = np.minimum(np.searchsorted(LIMITS, x), len(LIMITS) - 1)
    counts = np.bincount(buckets, minlength=len(LIMITS)).astype(float)
    return Histogram(LIMITS, counts.tolist(), x.min(), x.max(), x.sum(), (x * x).sum())


def drawn(histogram):
    """Return TensorBoard's buckets, (left, right, count) each."""
    shown = as_drawn(histogram)
    proto = HistogramProto(
        min=shown.minimum, max=shown.maximum, bucket_limit=shown.limits, bucket=shown.counts
    )
    return make_ndarray(migrate_value(Summary.Value(tag="h", histo=proto)).tensor)


@given(numbers=values)
@settings(max_examples=300, deadline=None)
def test_the_picture_has_the_counts_between_the_limits(numbers):
    histogram = counted(numbers)
    left, right, counts = drawn(histogram).T
    filled = np.flatnonzero(histogram.counts)
    first, last = filled[0], filled[-1]
    np.testing.assert_array_equal(counts, histogram.counts[first : last + 1])
    np.testing.assert_array_equal(left[1:], LIMITS[first:last])
    np.testing.assert_array_equal(right[:-1], LIMITS[first:last])
    assert LOWER[first] <= left[0] <= LIMITS[first]
    assert LOWER[last] <= right[-1] <= LIMITS[last]
    assert left[0] <= right[-1]


@pytest.mark.parametrize(
    ("numbers", "edges"),
    [
        ([0.25, 1.0], (0.25, 1.0)),
        ([-1e30, 1.0], (-14.0, 1.0)),
        ([0.25, 1e30], (0.25, 8.0)),
        ([1e29, 1e30], (2.0, 8.0)),
        ([-1e30, -1e29], (-14.0, -8.0)),
        ([1.0, 1.0, 1.0], (1.0, 1.0)),
    ],
)
def test_the_outer_edges_are_the_extremes_unless_they_spoil_the_picture(numbers, edges):
    buckets = drawn(counted(numbers))
    assert (buckets[0][0], buckets[-1][1]) == edges


def test_a_histogram_that_counts_nothing_has_no_picture(tmp_path):
    empty = Histogram(LIMITS, [0.0] * len(LIMITS), math.nan, math.nan, 0.0, 0.0)
    with pytest.raises(ValueError, match="must count something"):
        as_drawn(empty)
    writer = EventFile(tmp_path, start=0)
    writer.write(0, Measurement({}, {"activation/a/in": empty}))
    writer.close()
    assert EventAccumulator(str(tmp_path)).Reload().Tags()["histograms"] == []


def test_moments_are_those_of_the_values():
    histogram = counted([-1e30, 0.25, 1e30, 3.0])
    shown = as_drawn(histogram)
    assert (shown.total, shown.sum_squares) == (histogram.total, histogram.sum_squares)
