"""What stands in the folder that TensorBoard is shown, and which runs a mean is made of."""

import subprocess
import sys

import numpy as np
import pytest
from synthetic_runs import OURS, config, telling_rows, write_run

from bnexp.analysis.board import folder_of, means_over_seeds
from bnexp.analysis.records import read_record


@pytest.fixture
def leave(tmp_path):
    def leave(name, experiment="default", status="finished", **changed):
        whole = config(**changed)
        rows = telling_rows("custom", whole["seed"], 50)
        folder = tmp_path / experiment / name
        return read_record(write_run(folder, rows, config=whole, result={"status": status}))

    return leave


def shown(records):
    with folder_of(records) as folder:
        return {path.name: path.resolve() for path in folder.iterdir()}


def stamped(number):
    return f"custom-b64_20261128-120000-{number:04x}"


def test_a_name_of_the_users_own_stays(leave):
    first, second = leave("my first"), leave(stamped(2), seed=1)
    assert shown([first, second]) == {
        "my first": first.run.path,
        f"{OURS}, seed 1": second.run.path,
    }


def test_names_that_differ_in_case_alone_or_meet_a_folder_of_that_name_stay_apart(leave):
    records = [leave("twin"), leave("Twin", "other"), leave("default"), leave("twin, default", "other")]
    assert set(shown(records)) == {"twin, default", "Twin, other", "default", "twin, default (2)"}
    assert all(path.is_file() for record in records for path in record.run.path.iterdir())


def test_a_long_name_is_cut(leave):
    records = [leave(stamped(seed), seed=seed, weights="é" * 300 + str(seed)) for seed in (0, 1)]
    names = sorted(shown(records))
    assert len(names) == 2 and all(len(name.encode()) <= 210 for name in names)


def test_a_mean_takes_the_newest_run_of_each_seed(leave):
    records = [leave(f"custom_20261128-12000{second}-0000", seed=seed) for second, seed in ((1, 0), (2, 1))]
    wrong = leave("custom_20261128-120000-0000", seed=0)
    rows = wrong.run.metrics_file.read_text().replace('"loss/train":', '"loss/train":1')
    wrong.run.metrics_file.write_text(rows)
    (alone,), _ = means_over_seeds(records)
    (mean,), notes = means_over_seeds([*records, wrong])
    assert mean.name == f"{OURS}, mean of 2" and not notes
    np.testing.assert_array_equal(mean.curves["loss/train"].mean, alone.curves["loss/train"].mean)


@pytest.mark.parametrize("status", ["interrupted", "failed", "diverged"])
def test_only_runs_with_an_answer_are_averaged(leave, status):
    records = [leave("first", seed=0), leave("second", seed=1), leave("third", seed=2, status=status)]
    (mean,), _ = means_over_seeds(records)
    assert mean.name == f"{OURS}, mean of 2" + (", 1 diverged" if status == "diverged" else "")


def test_a_run_with_damaged_metrics_costs_its_own_mean_alone(leave):
    records = [leave(f"{size} {seed}", seed=seed, batch_size=size) for size in (8, 16) for seed in (0, 1)]
    records[0].run.metrics_file.write_text("damaged\n\n")
    (mean,), (note,) = means_over_seeds(records)
    assert mean.name == f"{OURS}, batch 16, mean of 2"
    assert note.startswith(f"no mean of {OURS}, batch 8: ") and "line 1 must be a row of metrics" in note


def test_the_board_does_not_wait_for_torch():
    code = "import sys, bnexp.commands.tb; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
