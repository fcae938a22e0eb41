"""The commands of a report make the same runs again."""

import json
import shlex

import pytest

from bnexp import cli
from bnexp.analysis.query import answers
from bnexp.analysis.records import read_record
from bnexp.report.reproduce import commands, commands_of_runs
from bnexp.runs import sweeps
from bnexp.runs.directory import RunDirectory
from bnexp.runs.log import started_by, warnings

WORDS = ("norm=custom,none", "batch_size=50", "steps=3", "telemetry=none", "data.train_size=200")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The folder of a real sweep of two runs."""
    root = tmp_path_factory.mktemp("swept") / "runs"
    assert cli.run(["train", "-m", *WORDS, f"runs_dir='{root}'"]) == 0
    return root


def records(root):
    return answers([], root)[0]


def recorded(root):
    (path,) = sweeps.records(root)
    return sweeps.read(path)


def test_a_whole_sweep_has_one_command(swept):
    (command,) = commands(records(swept))
    assert shlex.split(command.text) == ["bnexp", "train", "-m", *WORDS, f"runs_dir='{swept}'"]
    assert command.note == f"sweep {recorded(swept).name}: all of its 2 runs are shown here"


def test_a_job_records_the_command_that_makes_it_alone(swept):
    for record, command in zip(records(swept), commands_of_runs(records(swept)), strict=True):
        words = shlex.split(command)
        assert record.result["command"] == command == started_by(record.run)
        assert words[:3] == ["bnexp", "train", f"norm={record.value('norm')}"] and words[-1] == "threads=1"


def test_that_command_gives_the_same_numbers(swept, tmp_path):
    record, *_ = records(swept)
    words = [word for word in shlex.split(record.result["command"])[1:] if not word.startswith("runs_dir")]
    assert cli.run([*words, f"output_dir='{tmp_path / 'again'}'"]) == 0
    again = read_record(RunDirectory(tmp_path / "again"))
    assert again.result["config_hash"] == record.result["config_hash"]
    assert again.metric("loss/test") == record.metric("loss/test")


def test_half_of_a_sweep_has_the_commands_of_its_runs(swept):
    half = records(swept)[:1]
    assert [command.text for command in commands(half)] == commands_of_runs(half)


def test_words_that_do_not_make_the_sweep_alone_are_not_offered(swept):
    """As with --pair and --trials, which the record does not keep."""
    sweep = recorded(swept)
    content = json.loads(sweep.path.read_text())
    text = sweep.path.read_text()
    sweep.path.write_text(json.dumps({**content, "words": ["norm=custom,none", "batch_size=50,60"]}))
    try:
        assert [command.text for command in commands(records(swept))] == commands_of_runs(records(swept))
    finally:
        sweep.path.write_text(text)


def test_a_resumed_run_is_made_by_what_began_it(tmp_path):
    run = RunDirectory(tmp_path)
    run.log_file.write_text(
        "2026-11-28 10:00:00,000 INFO started by bnexp train norm=custom\n"
        "2026-11-28 10:00:00,001 WARNING a warning\n"
        "2026-11-28 10:00:00,002 ERROR Traceback\n  WARNING no entry of the log\n"
        "2026-11-28 10:10:00,000 INFO resumed by bnexp resume last\n"
        "2026-11-28 10:10:00,001 WARNING a warning\n"
        "2026-11-28 10:10:00,001 WARNING another\n"
    )
    assert started_by(run) == "bnexp train norm=custom"
    assert warnings(run) == ["a warning", "another"]


def test_a_run_without_a_log_has_neither(tmp_path):
    assert started_by(RunDirectory(tmp_path)) is None and warnings(RunDirectory(tmp_path)) == []
