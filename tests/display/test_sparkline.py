"""Curves and histograms as one line of text, against cases made by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnexp.display.sparkline import bars, sparkline


@pytest.mark.parametrize(
    "values, width, line",
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], 8, "▁▂▃▄▅▆▇█"),
        ([7, 0], 8, "█▁"),
        ([0, 0, 10, 10], 2, "▁█"),
        ([0, 10, 0, 10, 0, 20], 3, "▁▁█"),
        ([3, 3, 3], 8, "▄▄▄"),
        ([5], 8, "▄"),
        ([], 8, ""),
        ([0, math.nan, 1], 3, "▁×█"),
        ([0, math.nan, 1, 1], 2, "▁█"),
        ([math.nan, math.inf], 4, "××"),
        ([-1e300, 1e300], 2, "▁█"),
    ],
)
def test_a_curve_runs_from_its_least_to_its_greatest(values, width, line):
    assert sparkline(values, width) == line


@pytest.mark.parametrize(
    "shares, line",
    [
        ([0, 1, 2, 4, 8], " ▁▂▄█"),
        ([0.001, 1], "▁█"),
        ([0, 0], "  "),
        ([], ""),
        ([1, 1], "██"),
    ],
)
def test_whatever_was_counted_shows(shares, line):
    assert bars(shares) == line


def test_ascii_keeps_the_shape():
    assert sparkline([0, 4, 7, math.nan], 4, ascii_only=True) == "_+@x"
    assert bars([0, 8, 1], ascii_only=True) == " @_"


@given(st.lists(st.floats(), max_size=200), st.integers(1, 60))
def test_any_numbers_fit_the_width(values, width):
    line = sparkline(values, width)
    assert len(line) == min(width, len(values))
    assert set(line) <= set("▁▂▃▄▅▆▇█×")
