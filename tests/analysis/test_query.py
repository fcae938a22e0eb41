"""Which runs words mean: every operator, what people type, and what they mistype."""

import json
from datetime import datetime, timedelta

import pytest
from synthetic_runs import config, leave_run

from bnexp.analysis.query import answers, is_filter, parse, select
from bnexp.analysis.records import all_records
from bnexp.errors import CheckpointError, ConfigError
from bnexp.runs.sweeps import Job, Sweep


def stamp(**ago):
    return (datetime.now() - timedelta(**ago)).strftime("_%Y%m%d-%H%M%S-0000")


RUNS = {
    "a": (config(batch_size=8, seed=1), {"accuracy_test": 0.9, "seconds": 1.0}),
    "b": (config("none", batch_size=64, early={"patience": None}, fused=True), {"accuracy_test": 0.5}),
    "c": (config(batch_size=128, norm__eps=1e-3, fused=False), {"status": "diverged", "command": "x a,b=c"}),
    "d": (config("none", momentum=0.5), {"status": "failed", "error": "[boom]"}),
    "e": (config(norm__momentum=None), {}),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Five runs, a to e from new to old, and the sweep of a and b."""
    root = tmp_path_factory.mktemp("runs")
    ages = {"a": {"minutes": 5}, "b": {"hours": 5}, "c": {"days": 5}, "d": {"weeks": 5}, "e": {"days": 400}}
    for name, (settings, result) in RUNS.items():
        leave_run(root / ("x" if name in "abc" else "y") / f"{name}{stamp(**ages[name])}", settings, **result)
    sweep = Sweep(root / "x" / "sweeps" / "sw1.json", ["-m"], [], [Job([], "", "")] * 2, [])
    sweep.write()
    for job, run in enumerate(sorted((root / "x").glob("[ab]_*"))):
        sweep.add(job, "started", run)
    return root


def chosen(root, *words):
    return "".join(record.name[0] for record in select(words, root))


@pytest.mark.parametrize(
    "words, expected",
    [
        ([], "abcde"),
        (["norm=custom"], "ace"),
        (["norm!=custom"], "bd"),
        (["norm=cust*"], "ace"),
        (["norm=?one"], "bd"),
        (["norm=custom,none"], "abcde"),
        (["norm!=custom,none"], ""),
        (["head_norm=none"], "bd"),
        (["model=lenet", "data=digits"], "abcde"),
        (["batch_size=8"], "a"),
        (["batch_size==8"], "a"),
        (["batch_size=8.0"], "a"),
        (["batch_size<64"], "a"),
        (["batch_size<=64"], "abde"),
        (["batch_size>64"], "c"),
        (["batch_size >= 64"], "bcde"),
        (["batch_size=8,128"], "ac"),
        (["batch_size!=8,128"], "bde"),
        (["norm.eps=1e-3"], "c"),
        (["norm.eps=0.001"], "c"),
        (["norm.eps<1e-4"], "ae"),
        (["momentum=null"], "e"),
        (["momentum!=null"], "abcd"),
        (["momentum=0.1"], "ac"),
        (["eps=1e-3"], "c"),
        (["steps=null"], "abcde"),
        (["early.patience=null"], "b"),
        (["fused=true"], "b"),
        (["fused=false"], "c"),
        (["fused=1"], ""),
        (["accuracy/test>0.7"], "a"),
        (["accuracy/test<=0.5"], "b"),
        (["seconds<2"], "a"),
        (["status=finished"], "ab"),
        (["status=diverged,failed"], "cd"),
        (["status=failed", "accuracy/test>0.5"], ""),
        (["status!=finished", "batch_size=128"], "c"),
        (["experiment=y"], "de"),
        (["name=a*"], "a"),
        (["error=[boom]"], "d"),
        (["error=[b*]"], "d"),
        (['command="x a,b=c"'], "c"),
        (['command="x a,b=c",y'], "c"),
        (["command=x a?b=c"], "c"),
        (["command=x a,b=c"], ""),
        (["age<1h"], "a"),
        (["age<0.5d"], "ab"),
        (["age<=600m"], "ab"),
        (["age>1w"], "de"),
        (["age>30s", "age<2w"], "abc"),
        (["sweep=sw1"], "ab"),
        (["sweep!=sw1"], "cde"),
        (["sweep=sw1", "norm=none"], "b"),
        (["telemetry.scalars_every>=20", "norm=none", "batch_size=64", "seed=0"], "bd"),
    ],
)
def test_filters_choose(root, words, expected):
    assert chosen(root, *words) == expected


def test_started_is_compared_with_dates(root):
    today, c = datetime.now(), next(record for record in all_records(root) if record.name[0] == "c")
    day = f"{datetime.fromtimestamp(c.started):%Y-%m-%d}"
    assert chosen(root, f"started={day}") == "c" and chosen(root, f"started!={day}") == "abde"
    assert chosen(root, f"started>={day}") == "abc" and chosen(root, f"started<{day}") == "de"
    assert chosen(root, f"started<{today - timedelta(days=399):%Y-%m-%dT%H:%M}") == "e"
    assert chosen(root, "started=1999-01", "norm=custom") == ""


@pytest.mark.parametrize(
    "word, told",
    [
        ("nrom=custom", r"no run has 'nrom' \(did you mean norm\?\)"),
        ("lr=0.05", r"did you mean optimizer.lr\?"),
        ("accuracy/tset>0.5", r"did you mean accuracy/test\?"),
        ("stauts=failed", r"did you mean status\?"),
        ("batch_size<many", "batch_size is compared with a number, got <many"),
        ("batch_size<", "batch_size is compared with a number"),
        ("age<2", "age is compared with < or > and a time such as 30m, 6h or 2d, got <2"),
        ("age=2h", "age is compared with < or > and a time"),
        ("age<1.2.3h", "a time such as"),
        ("started>yesterday", "a date such as 2026-11-27, got >yesterday"),
        ("started>2026-13-99", "a date such as"),
        ("sweep<3", "sweep is compared with = and names"),
    ],
)
def test_a_filter_that_means_nothing_is_told(root, word, told):
    with pytest.raises(ConfigError, match=told) as error:
        select([word], root)
    assert "\n" not in str(error.value)


def test_without_runs_no_key_is_unknown(tmp_path):
    assert select(["nrom=custom"], tmp_path) == []


def test_a_sweep_that_is_none_is_told(root):
    with pytest.raises(CheckpointError, match=r"no sweep 'sw2' under .* \(did you mean sw1\?\)"):
        select(["sweep=sw2"], root)


def test_references_mean_folders_names_sweeps_and_experiments(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root.parent)
    a = next((root / "x").glob("a_*"))
    for word in (a.name, f"x/{a.name}", str(a), f"{a}/", f"{root.name}/x/{a.name}", "last"):
        assert chosen(root, word) == "a", word
    assert chosen(root, "sw1") == chosen(root, str(root / "x" / "sweeps" / "sw1.json")) == "ab"
    for word in ("x", "x/", str(root / "x"), f"{root.name}/x/"):
        assert chosen(root, word) == "cba", word


def test_references_add_up_in_the_order_given_and_count_once(root):
    a, d = (next(root.glob(f"*/{name}_*")) for name in "ad")
    assert chosen(root, d.name, str(a), f"x/{a.name}", "last", "y") == "dae"
    assert chosen(root, "y", "sw1", "norm=none") == "db"


def test_all_that_a_shell_finds_in_an_experiment_can_be_named(tmp_path):
    whole = leave_run(tmp_path / "x" / "whole", config(), accuracy_test=0.5)
    (tmp_path / "x" / "broken").mkdir()
    (tmp_path / "x" / "sweeps").mkdir()
    records = select([str(path) for path in sorted((tmp_path / "x").iterdir())], tmp_path)
    assert [(record.name, record.status) for record in records] == [
        ("broken", "broken"),
        ("whole", "finished"),
    ]
    assert [record.run.path for record in answers([str(whole.path)], tmp_path)[0]] == [whole.path]


def test_a_thousand_paths_are_read_and_not_searched_for(tmp_path, monkeypatch):
    leave_run(tmp_path / "x" / "run", config())
    monkeypatch.setattr("bnexp.analysis.query.find", None)
    assert len(select([str(tmp_path / "x" / "run")], tmp_path)) == 1


@pytest.mark.parametrize("word", ["missing", "x/missing", "..", ".", "batch size", "norm:custom"])
def test_a_reference_that_means_nothing_is_told(root, word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="no run '"):
        select([word], root)


def test_a_path_is_a_path_even_where_it_looks_like_a_filter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_filter("lr=0.1")
    leave_run(tmp_path / "lr=0.1", config())
    assert not is_filter("lr=0.1") and [record.name for record in select(["lr=0.1"], tmp_path / "runs")] == [
        "lr=0.1"
    ]


def test_a_long_filter_is_no_file_name():
    word = "name=" + ",".join(f"run-{number}" for number in range(1000))
    assert is_filter(word) and len(parse(word).values) == 1000


def test_names_that_look_like_numbers_are_names(tmp_path):
    for name in ("7", "007", "1e3"):
        leave_run(tmp_path / "2026" / name, config())
    assert [record.name for record in select(["name=007"], tmp_path)] == ["007"]
    assert [record.name for record in select(["name=1e3"], tmp_path)] == ["1e3"]
    assert len(select(["experiment=2026"], tmp_path)) == 3


def test_lists_are_matched_as_they_are_printed(tmp_path):
    leave_run(tmp_path / "x" / "run", config(channels=[0, 1]))
    assert select(['channels="[0, 1]"'], tmp_path) and not select(["channels=0"], tmp_path)


def test_only_answered_runs_answer_and_the_others_are_counted(root):
    records, notes = answers([], root)
    assert "".join(record.name[0] for record in records) == "cba"
    assert notes == ["1 failed left out", "1 interrupted left out"]
    assert [record.name[0] for record in answers(["x"], root)[0]] == ["c", "b", "a"]
    with pytest.raises(
        CheckpointError, match=r"no finished run y \(1 failed left out, 1 interrupted left out\)"
    ):
        answers(["y"], root)


def test_a_running_run_does_not_answer(tmp_path):
    run = leave_run(tmp_path / "x" / "run", config())
    run.result_file.write_text(json.dumps({"status": "interrupted"}))
    with run.lock(), pytest.raises(CheckpointError, match="1 running left out"):
        answers([], tmp_path)


def test_filters_open_no_file(tmp_path, monkeypatch):
    leave_run(tmp_path / "x" / "run", config(), accuracy_test=0.5)
    (record,) = all_records(tmp_path)

    def opened(*arguments, **options):
        raise AssertionError(f"opened {arguments}")

    monkeypatch.setattr("builtins.open", opened)
    monkeypatch.setattr("io.open", opened)
    words = ("batch_size<65", "norm=custom", "status=finished", "age<2d", "accuracy/test>0.4")
    assert all(parse(word).holds(record) for word in words)
