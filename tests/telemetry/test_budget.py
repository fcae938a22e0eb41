"""The histogram interval that keeps to a size, and whether the size is the true one."""

import pytest

from bnexp.protocols import Histogram, Measurement
from bnexp.telemetry.budget import histogram_bytes, histogram_interval
from bnexp.telemetry.counting import ACTIVATIONS, BUCKETS
from bnexp.telemetry.tensorboard import TensorBoardWriter


def test_what_fits_keeps_its_interval_and_says_nothing():
    assert histogram_interval(50, 1000, 50_000, 1.0) == (50, None)


@pytest.mark.parametrize(
    ("every", "total_steps", "size", "megabytes", "interval"),
    [
        (50, 1001, 50_000, 1.0, 100),
        (1, 1000, 1000, 0.1, 10),
        (200, 10**6, 40_000, 50, 800),
        (7, 100, 10**6, 3, 35),
    ],
)
def test_the_interval_grows_until_the_histograms_fit_and_no_further(
    every, total_steps, size, megabytes, interval
):
    found, note = histogram_interval(every, total_steps, size, megabytes)
    assert found == interval
    assert len(range(0, total_steps, interval)) * size <= megabytes * 1e6
    assert len(range(0, total_steps, interval - every)) * size > megabytes * 1e6
    assert note == (
        f"histograms are logged every {interval} steps instead of {every}, "
        f"to keep to telemetry.max_megabytes={megabytes:g}"
    )


@pytest.mark.parametrize("megabytes", [0.5, 1e-9])
def test_step_0_stays_even_where_it_does_not_fit_alone(megabytes):
    interval, note = histogram_interval(10, 95, 10**6, megabytes)
    assert list(range(0, 95, interval)) == [0]
    assert note


def test_nothing_to_log_fits_everywhere():
    assert histogram_interval(1, 10**6, 0, 0.1) == (1, None)


def test_the_size_is_that_of_tensorboard_s_file(tmp_path):
    tags = [f"activation/layer{number}.norm/in" for number in range(20)]
    full = Histogram(ACTIVATIONS.limits, [12345.0] * BUCKETS, -3.0, 4.0, 1234.5, 6789.0)
    sizes = []
    for rows in (0, 10):
        folder = tmp_path / str(rows)
        folder.mkdir()
        writer = TensorBoardWriter(folder)
        for step in range(rows):
            writer.write(50 * step, Measurement(histograms=dict.fromkeys(tags, full)))
        writer.close()
        sizes.append(sum(file.stat().st_size for file in folder.iterdir()))
    assert sizes[1] - sizes[0] == pytest.approx(10 * histogram_bytes(tags), rel=0.02)
