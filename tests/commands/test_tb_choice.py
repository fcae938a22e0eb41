"""`bnexp tb` with filters and `--mean`, asked over HTTP: which runs, their names, means and bands."""

import itertools
import json
import math

import numpy as np
import pytest
from synthetic_runs import OURS, config, telling_rows, write_run
from tensorboard_server import SLOW, serving

from bnexp.cli import run
from bnexp.telemetry.event_file import EventFile
from bnexp.telemetry.hparams import end_session, session_start

STEPS = 100
NORMS, SIZES, SEEDS = ("custom", "none"), (8, 64), (0, 1, 2)
CUSTOM_8, CUSTOM_64, NONE_8 = f"{OURS}, batch 8", f"{OURS}, batch 64", "no norm, batch 8"
MEANS = {f"{CUSTOM_8}, mean of 3", f"{CUSTOM_64}, mean of 3", f"{NONE_8}, mean of 2, 1 diverged"}
FEW = {"loss/train", "loss/val", "accuracy/train", "accuracy/val", "grad_norm"}
count = itertools.count()


def leave_run(root, norm="custom", size=8, seed=0, *, status="finished", experiment="default", **changed):
    """Leave a run as a training would, under a name with a time stamp of its own."""
    number = next(count)
    folder = root / experiment / f"{norm}-b{size}-s{seed}_20261128-{120000 + number}-{number:04x}"
    rows = telling_rows(norm, seed + size, STEPS)
    rows[STEPS].scalars |= {"accuracy/test": 0.1 * seed + 0.5, "loss/test": size / (1 + seed)}
    if status == "diverged":
        rows[STEPS].scalars["loss/train"] = math.nan
    whole = config(norm, batch_size=size, seed=seed, **changed)
    made = write_run(folder, rows, config=whole, result={"status": status, "accuracy/test": 0.5})
    knobs = {key: whole[key] for key in ("batch_size", "placement", "seed")}
    events = EventFile(folder, start=None, flush_s=0)
    events.add(session_start({"norm": norm, "momentum": "0.1", **knobs}), 0)
    events.close()
    end_session(folder, status)
    return made


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for norm, size, seed in itertools.product(NORMS, SIZES, SEEDS):
        diverged = (norm, size, seed) == ("none", 8, 1)
        leave_run(root, norm, size, seed, status="diverged" if diverged else "finished")
    torn = root / "default" / "torn"
    torn.mkdir()
    (torn / "config.yaml").write_text("norm: [")
    return root


def members(root, pattern):
    """Return the rows by step of each run whose folder's name matches."""
    found = []
    for file in sorted(root.glob(f"default/{pattern}_*/metrics.jsonl")):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        found.append({row["step"]: row for row in rows})
    return found


def names_of(group, seeds=SEEDS):
    return {f"{group}, seed {seed}" for seed in seeds}


@pytest.fixture(scope="module", params=["fast", "slow"])
def board(root, request):
    words = ("batch_size<=64", "name!=none-b64*", "--mean", "--runs-dir", str(root))
    with serving(*words, **(SLOW if request.param == "slow" else {})) as server:
        server.wait_for(MEANS | names_of(CUSTOM_8) | names_of(CUSTOM_64) | names_of(NONE_8))
        yield server


def test_filters_choose_the_runs_and_what_differs_names_them(root, tmp_path):
    before = sorted(path for path in root.rglob("*"))
    with serving("norm=custom", "--runs-dir", str(root), TMPDIR=str(tmp_path)) as server:
        server.wait_for(names_of(f"{OURS}, batch 8") | names_of(f"{OURS}, batch 64"))
    assert sorted(root.rglob("*")) == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("bnexp")]


def test_a_mean_overlays_its_runs_with_the_values_of_numpy(root, board):
    rows = members(root, "custom-b8-s?")
    assert len(rows) == 3
    for tag in set(rows[0][0]) - {"step", "epoch", "examples"}:
        at = [step for step in rows[0] if all(one.get(step, {}).get(tag) is not None for one in rows)]
        values = [np.mean([one[step][tag] for one in rows]) for step in at]
        found = board.scalars(f"{CUSTOM_8}, mean of 3", tag)
        assert [step for step, _ in found] == at
        np.testing.assert_allclose([value for _, value in found], values, rtol=1e-6, atol=0)


def test_a_band_is_one_standard_deviation_to_each_side(root, board):
    rows = members(root, "custom-b64-s?")
    for tag in FEW:
        at = [step for step in rows[0] if tag in rows[0][step]]
        values = np.array([[one[step][tag] for step in at] for one in rows])
        mean, std = values.mean(axis=0), values.std(axis=0, ddof=1)
        for edge, expected in (("lower", mean - std), ("upper", mean + std)):
            found = board.scalars(f"{CUSTOM_64}, mean of 3", f"seed_band/{tag}/{edge}")
            assert [step for step, _ in found] == at
            np.testing.assert_allclose([value for _, value in found], expected, rtol=1e-5, atol=1e-6)


def test_a_diverged_seed_is_counted_in_the_name_and_not_averaged(root, board):
    rows = [members(root, f"none-b8-s{seed}")[0] for seed in (0, 2)]
    found = dict(board.scalars(f"{NONE_8}, mean of 2, 1 diverged", "loss/train"))
    assert found[STEPS] == pytest.approx(np.mean([one[STEPS]["loss/train"] for one in rows]), rel=1e-6)


def test_every_band_of_the_page_has_its_curves(board):
    categories = board.get("custom_scalars/layout")["category"]
    assert [category["title"].partition(": ")[0] for category in categories] == ["mean ± std over seeds"] * 3
    first = [chart["title"] for chart in categories[0]["chart"]]
    assert first == ["grad_norm", "accuracy/val", "accuracy/train", "loss/val", "loss/train"]
    for chart in (chart for category in categories for chart in category["chart"]):
        (band,) = chart["margin"]["series"]
        assert band["value"] == chart["title"]
        run = f"{CUSTOM_8}, mean of 3"
        lengths = {edge: len(board.scalars(run, tag)) for edge, tag in band.items()}
        assert lengths["value"] == lengths["lower"] == lengths["upper"] > 1


def test_the_run_table_has_the_choices_and_final_metrics_of_runs_and_means(board):
    table = {row["name"]: row for row in board.run_table()}
    shared = {"norm": "custom", "batch_size": 8.0, "momentum": "0.1", "placement": "pre"}
    assert table[f"{CUSTOM_8}, seed 2"]["hparams"] == {**shared, "seed": 2.0}
    assert table[f"{CUSTOM_8}, mean of 3"]["hparams"] == shared
    for name, accuracy in ((f"{CUSTOM_8}, seed 2", 0.7), (f"{CUSTOM_8}, mean of 3", 0.6)):
        metrics = {one["name"]["tag"]: one["value"] for one in table[name]["metricValues"]}
        assert metrics["accuracy/test"] == pytest.approx(accuracy, rel=1e-6)
    assert table[f"{CUSTOM_8}, mean of 3"]["sessions"][0]["status"] == "STATUS_SUCCESS"
    statuses = {name: row["sessions"][0]["status"] for name, row in table.items()}
    assert [name for name, status in statuses.items() if status == "STATUS_FAILURE"] == [f"{NONE_8}, seed 1"]


def test_sorting_keeps_a_mean_beside_its_runs(board):
    rows = board.run_table(
        {"hparam": "norm", "order": "ORDER_ASC"}, {"hparam": "batch_size", "order": "ORDER_ASC"}
    )
    groups = [(row["hparams"]["norm"], row["hparams"]["batch_size"]) for row in rows]
    assert groups == [("custom", 8)] * 4 + [("custom", 64)] * 4 + [("none", 8)] * 4


def test_equal_runs_are_told_apart_by_the_time_and_averaged_once(tmp_path, tmp_path_factory):
    runs = [leave_run(tmp_path, seed=seed) for seed in (0, 0, 1)]
    temporary = tmp_path_factory.mktemp("temporary")
    stamps = [one.path.name.partition("_")[2] for one in runs[:2]]
    names = {f"{OURS}, seed 0, {stamp}" for stamp in stamps} | {f"{OURS}, seed 1", f"{OURS}, mean of 2"}
    with serving("--mean", "--runs-dir", str(tmp_path), TMPDIR=str(temporary)) as server:
        server.wait_for(names)
        assert list(temporary.glob("bnexp-tb-*"))
    assert not list(temporary.glob("bnexp-tb-*"))


def test_a_value_with_slashes_makes_no_folders(tmp_path):
    for weights in ("runs/default/first/best.pt", "../second.pt"):
        leave_run(tmp_path, weights=weights)
    with serving("default", "--runs-dir", str(tmp_path)) as server:
        server.wait_for({f"{OURS}, weights=runs-default-first-best.pt", f"{OURS}, weights=..-second.pt"})


def test_broken_runs_are_left_out_with_a_note(root, capfd):
    with serving("name=custom-b8*,torn", "--runs-dir", str(root)) as server:
        server.wait_for(names_of(OURS))
    assert "note: 1 broken run left out; see `bnexp runs`" in capfd.readouterr().err


def test_without_seeds_to_average_a_note_says_so(tmp_path, capfd):
    leave_run(tmp_path)
    leave_run(tmp_path, seed=1, status="diverged")
    with serving("--mean", "--runs-dir", str(tmp_path)) as server:
        server.wait_for({f"{OURS}, seed 0", f"{OURS}, seed 1"})
    assert "note: no mean: " in capfd.readouterr().err


def test_a_filter_that_no_run_passes_is_one_line(root, capsys):
    assert run(["tb", "norm=group", "--runs-dir", str(root)]) == 2
    assert capsys.readouterr().err == "bnexp: no run norm=group; see `bnexp runs`\n"


def test_a_filter_on_what_no_run_has_is_one_line(root, capsys):
    assert run(["tb", "btach_size=8", "--runs-dir", str(root)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no run has 'btach_size'" in line
