"""Every run is read, whatever stands beside it and whatever was done to its files."""

import json
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from synthetic_runs import config, leave_run

from bnexp.analysis.records import ABSENT, all_records, read_record
from bnexp.display.columns import visible
from bnexp.runs import reading
from bnexp.runs.directory import RunDirectory, status
from bnexp.runs.reading import read_config

HOLD = """
import sys, time
from pathlib import Path
from bnexp.runs.directory import create
run = create(Path(sys.argv[1]), "default", "new")
with run.lock():
    print(run.path, flush=True)
    sys.stdin.readline()
    run.write_config("norm: {_target_: a}")
    print("written", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def run(tmp_path):
    return leave_run(tmp_path / "default" / "whole", config(), accuracy_test=0.5, seconds=2.0, step=400)


def names(root):
    return [record.name for record in all_records(root)]


def damaged(root):
    """Return the record of the damaged run; the whole one must be as ever."""
    whole, other = sorted(all_records(root), key=lambda record: record.name != "whole")
    assert (whole.name, whole.status, whole.problem) == ("whole", "finished", None)
    assert whole.metric("accuracy/test") == 0.5 and whole.value("norm") == "custom"
    return other


def write(data):
    return lambda path: path.write_bytes(data)


def remake_as_folder(path):
    path.unlink()
    path.mkdir()


def link_to_itself(path):
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    "name, damage",
    [
        ("result.json", write(b'{"status": "fini')),
        ("result.json", write(b"")),
        ("result.json", write(b"\0" * 100)),
        ("result.json", write(b"[1, 2]")),
        ("result.json", write(b'{"status": ["finished"]}')),
        ("result.json", write(b'{"status": "splendid"}')),
        ("result.json", write(b"[" * 100_000)),
        ("result.json", write(b'{"status": "finished", "step": ' + b"1" * 5000 + b"}")),
        ("result.json", write(b"\xff\xfe")),
        ("result.json", remake_as_folder),
        ("result.json", link_to_itself),
        ("config.yaml", Path.unlink),
        ("config.yaml", remake_as_folder),
        ("config.yaml", link_to_itself),
    ],
)
def test_a_damaged_file_breaks_its_own_run_alone(run, tmp_path, name, damage):
    other = leave_run(tmp_path / "default" / "other", config(), accuracy_test=0.25)
    damage(other.path / name)
    record = damaged(tmp_path)
    assert (
        record.status == status(other) == "broken" and name in record.problem and "\n" not in record.problem
    )


@pytest.mark.parametrize(
    "text",
    [
        "norm: [",
        "",
        "\0",
        "just words",
        "seed: 1",
        "norm: words",
        "norm: &a {b: *a}",
        "norm: {a: 2026-99-99}",
        "norm: {a: 2026-11-27}",
        "norm: {}\nchoices: [1]",
        "norm: {}\nchoices: {norm: [1]}",
        "norm: {}\nbatch_size: eight\nnorm_batch: 4",
        "norm: {}\nfreeze_norm: soon",
        "[" * 5000,
        b"norm: {}\nname: \xff\xfe",
    ],
)
def test_a_damaged_configuration_breaks_its_own_run_alone(run, tmp_path, text):
    other = leave_run(tmp_path / "default" / "other", config())
    other.config_file.write_bytes(text if isinstance(text, bytes) else text.encode())
    record = damaged(tmp_path)
    assert record.status == "broken" and "config.yaml" in record.problem and "\n" not in record.problem
    assert record.value("norm") is ABSENT and record.metric("accuracy/test") is None


@pytest.mark.parametrize(
    "files", [[], ["run.lock"], ["metrics.jsonl"], ["last.pt"], ["events.out.tfevents.1.0"]]
)
def test_a_folder_that_was_left_half_way_is_broken(run, tmp_path, files):
    folder = tmp_path / "default" / "other"
    folder.mkdir()
    for name in files:
        (folder / name).touch()
    assert damaged(tmp_path).status == "broken"


def test_what_is_no_run_is_not_listed(run, tmp_path):
    (tmp_path / "default" / "notes.txt").write_text("x")
    (tmp_path / "check.json").write_text("{}")
    (tmp_path / "default" / "loop").symlink_to("loop")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "default" / "gone").symlink_to("nowhere")
    for folder in ("default/sweeps", "default/.hidden", ".trash/run", "default/figures"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "default" / "figures" / "loss.png").touch()
    assert names(tmp_path) == ["whole"]


def test_a_folder_that_cannot_be_listed_stops_nothing(run, tmp_path, monkeypatch):
    leave_run(tmp_path / "default" / "locked", config(), accuracy_test=0.25)
    (tmp_path / "private").mkdir()
    listdir, scandir, open_file = os.listdir, os.scandir, os.open

    def guarded(function):  # root may read everything, so permissions cannot be taken away from tests
        def call(path, *rest, **named):
            if os.fspath(path).endswith(("locked", "private", "locked/result.json")):
                raise PermissionError(13, "Permission denied", os.fspath(path))
            return function(path, *rest, **named)

        return call

    monkeypatch.setattr(os, "listdir", guarded(listdir))
    monkeypatch.setattr(os, "scandir", guarded(scandir))
    monkeypatch.setattr(os, "open", guarded(open_file))
    assert "Permission denied" in damaged(tmp_path).problem


def test_a_folder_that_vanishes_meanwhile_is_left_out(run, tmp_path, monkeypatch):
    other = leave_run(tmp_path / "default" / "other", config())
    listdir = os.listdir

    def remove_first(path):
        if os.fspath(path) == str(other.path):
            other.config_file.unlink()
            other.path.rmdir()
        return listdir(path)

    monkeypatch.setattr(os, "listdir", remove_first)
    assert names(tmp_path) == ["whole"]


@pytest.mark.parametrize("root", ["missing", "default/whole/config.yaml"])
def test_no_folder_of_runs_holds_no_runs(run, tmp_path, root):
    assert all_records(tmp_path / root) == []


def test_a_run_that_is_being_created_is_running(run, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    path = Path(process.stdout.readline().strip())
    record = damaged(tmp_path)
    assert (record.run.path, record.status, record.problem, record.config) == (path, "running", None, {})
    process.stdin.write("\n")
    process.stdin.flush()
    process.stdout.readline()
    assert damaged(tmp_path).value("norm._target_") == "a"
    process.communicate("\n")
    assert damaged(tmp_path).status == "interrupted"


def test_older_runs_are_read_without_choices_and_without_config_in_the_result(tmp_path):
    old = {key: value for key, value in config().items() if key != "choices"}
    run = leave_run(tmp_path / "default" / "old", old, accuracy_test=0.5)
    run.result_file.write_text(json.dumps({"status": "finished", "accuracy/test": 0.5}))
    record = read_record(run)
    assert record.status == "finished" and record.problem is None and record.config == old
    assert record.value("norm") is ABSENT and record.value("batch_size") == 64


@pytest.mark.parametrize("copy", [[1], "x", None, {}, {"norm": "x"}, {"seed": 1}])
def test_a_copy_of_the_configuration_that_is_none_is_not_believed(tmp_path, copy):
    run = leave_run(tmp_path / "default" / "run", config())
    run.result_file.write_text(json.dumps({"status": "finished", "config": copy}))
    assert read_record(run).config == config()


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "1e999", "1" * 400, '"high"', "true", "null", "[1]"]
)
def test_what_is_no_finite_number_is_no_measurement(run, value):
    run.result_file.write_text(
        f'{{"status": "finished", "accuracy/test": {value}, "seconds": {value}, "step": 9}}'
    )
    record = read_record(run)
    assert record.status == "finished"
    assert record.metric("accuracy/test") is None and record.metric("step_time_ms") is None


def test_a_step_takes_seconds_by_steps(run):
    assert read_record(run).metric("step_time_ms") == 5.0
    run.result_file.write_text('{"status": "finished", "seconds": 2, "step": 0}')
    assert read_record(run).metric("step_time_ms") is None


def test_ten_thousand_scalars_are_all_there(run):
    run.result_file.write_text(
        json.dumps({"status": "finished"} | {f"m/{index}": index for index in range(10_000)})
    )
    assert read_record(run).metric("m/9999") == 9999


def test_the_newest_stands_first_by_the_time_in_its_name(tmp_path):
    for name, touched in (
        ("a_20260102-030405-00ff", 9e8),
        ("b_20260102-030406-00aa", 8e8),
        ("c_20250101-000000-0000", 1e9),
    ):
        run = leave_run(tmp_path / "x" / name, config())
        for path in (run.config_file, run.path):
            os.utime(path, (touched, touched))
    assert [name[0] for name in names(tmp_path)] == ["b", "a", "c"]
    expected = datetime(2026, 1, 2, 3, 4, 6).timestamp()
    assert all_records(tmp_path)[0].started == expected
    assert all_records(tmp_path)[0].age_s == pytest.approx(max(0, time.time() - expected), abs=5)


@pytest.mark.parametrize("name", ["mine", "mine_99999999-999999-abcd", "mine_20261301-000000-abcd"])
def test_without_a_time_in_the_name_the_configuration_tells(tmp_path, name):
    run = leave_run(tmp_path / "x" / name, config())
    os.utime(run.config_file, (1e9, 1e9))
    run.eval_file.write_text("{}")  # an evaluation makes no run younger
    assert all_records(tmp_path)[0].started == 1e9


def test_values_are_found_in_choices_configuration_and_result(run):
    record = read_record(run)
    found = {
        key: record.value(key) for key in ("norm", "optimizer.lr", "accuracy/test", "name", "experiment")
    }
    assert found == {
        "norm": "custom",
        "optimizer.lr": 0.05,
        "accuracy/test": 0.5,
        "name": "whole",
        "experiment": "default",
    }
    assert record.value("optimizer") == "sgd" and record.value("telemetry.nothing.there") is ABSENT
    assert record.value("steps") is None and record.value("seed.deeper") is ABSENT


def test_a_head_norm_that_nobody_chose_is_the_norm(tmp_path):
    run = leave_run(tmp_path / "x" / "run", config("none", choices__head_norm=None))
    assert read_record(run).value("head_norm") == "none"


YAMLS = [
    yaml.safe_dump(config(), sort_keys=False),
    "# made by hand\n" + yaml.safe_dump(config()),
    "---\nnorm: {}\nseed: 1\n",
    "{norm: {}, seed: 1}",
    "norm: &n {r_max: 1.0e-05}\nhead_norm: *n\n",
    "norm: {}\nseed: 1\nseed: 2\n",
    "norm: {}\nname: 'two\n\n  lines: of text'\nseed: 1\n",
    'norm: {}\nname: "a\nseed: 7\nb"\n',
    "norm: {}\nname: |\n  seed: 5\n  momentum: 6\nseed: 1\n",
    "norm:\n  _target_: a\nlayers:\n- '*'\n- b: 1\n  c: 2\nlast: .inf\n",
    "norm: {}\n? complex\n: value\nseed: 1\n",
    "norm: {}\r\nseed: 1\r\n",
    "norm: {}\non: yes\n1: 2\n",
    "norm: {}\nseed: 1 # how: many\n# seed: 3\nepochs: ~\n",
]


@pytest.mark.parametrize("text", YAMLS)
def test_reading_entry_by_entry_reads_what_yaml_says(tmp_path, text):
    run = RunDirectory(tmp_path)
    run.config_file.write_text(text)
    for _ in range(2):
        assert read_config(run) == yaml.safe_load(text)


def test_entries_that_runs_share_are_read_once(tmp_path, monkeypatch):
    reading._entry.cache_clear()
    read = []
    load = yaml.load
    monkeypatch.setattr(yaml, "load", lambda text, Loader: read.append(text) or load(text, Loader))
    for seed in range(20):
        run = leave_run(tmp_path / str(seed), config(seed=seed))
        assert read_config(run)["seed"] == seed
    assert len(read) == len(config()) + 19


def test_many_processes_write_while_runs_are_read(tmp_path):
    writer = (
        "import sys\nfrom pathlib import Path\nfrom bnexp.runs.directory import create\n"
        "for n in range(60):\n"
        "    run = create(Path(sys.argv[1]), 'default', 'a')\n"
        "    run.write_config('norm: {}')\n"
        "    run.write_result({'status': 'finished', 'n': n})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", writer, tmp_path])
    while process.poll() is None:
        for record in all_records(tmp_path):
            assert record.status in ("finished", "interrupted", "broken")
    assert [record.status for record in all_records(tmp_path)] == ["finished"] * 60


@pytest.mark.parametrize(
    "text, shown",
    [
        ("ünï-日本", "ünï-日本"),
        ("a\nb", "a\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("bad\udcff", "bad\\udcff"),
        ("[red]", "[red]"),
    ],
)
def test_names_are_shown_without_what_moves_the_cursor(text, shown):
    assert visible(text) == shown
