"""The histogram interval that keeps to a size, and whether the size is the true one."""

import pytest
import torch
import watched

from bnexp.models.part_names import norm_places
from bnexp.protocols import Measurement
from bnexp.telemetry.event_file import EventFile
from bnexp.telemetry.intervals import Intervals, adapted, histogram_bytes, histogram_interval
from bnexp.telemetry.probes import probes


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


@pytest.mark.parametrize(("network", "norm"), [("lenet", "custom"), ("lenet", "none"), ("resnet", "builtin")])
def test_the_size_is_that_of_tensorboard_s_file_with_some_room(tmp_path, network, norm):
    model = watched.network(network, norm)
    found, _ = probes(
        model,
        norm_places(model),
        total_steps=1,
        scalars_every=None,
        histograms_every=1,
        layers=["*"],
        channels=[],
        max_megabytes=50,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    writer = EventFile(tmp_path, start=0)
    writer.flush()
    header = sum(file.stat().st_size for file in tmp_path.iterdir())
    for step in range(8):
        measured = watched.look(found, model, watched.images(seed=step))
        writer.write(step, Measurement(histograms=measured.histograms))
        optimizer.step()
    writer.close()
    size = sum(file.stat().st_size for file in tmp_path.iterdir()) - header
    assert 0.5 <= size / (8 * histogram_bytes(measured.histograms)) <= 1


@pytest.mark.parametrize(
    ("total_steps", "scalars", "histograms"),
    [(1, 1, 1), (21, 1, 2), (105, 5, 20), (399, 10, 50), (400, 20, 50), (1000, 20, 200), (10**6, 20, 200)],
)
def test_intervals_suit_the_length_of_a_run(total_steps, scalars, histograms):
    assert adapted("auto", total_steps, "scalars") == scalars
    assert adapted("auto", total_steps, "histograms") == histograms


def test_a_run_of_any_length_has_six_histograms_and_twenty_rows_as_far_as_it_has_steps():
    for total_steps in range(1, 3000):
        for kind, least in (("histograms", 6), ("scalars", 21)):
            every = adapted("auto", total_steps, kind)
            intervals = Intervals(every, every, last=total_steps)
            due = [step for step in range(total_steps + 1) if intervals.at(step).histograms]
            assert len(due) >= min(least, total_steps + 1) and due[-1] == total_steps


def test_an_interval_that_was_given_stays():
    assert [adapted(every, 100, "scalars") for every in (1, 300, None)] == [1, 300, None]
