"""Three ways to train at one momentum are listed, found, drawn and compared as that momentum."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from bnexp import cli

QUICK = ("model=mlp", "model.hidden=[4]", "steps=1", "data.train_size=64", "batch_size=32", "threads=1")
AT_A_HALF = {"a": "momentum=0.5", "b": "norm.momentum=0.5", "c": "convention=keras norm.momentum=0.5"}
OTHERS = {"d": "momentum=0.1", "e": "norm=none momentum=0.5", "f": "norm=group eps=0.5 momentum=0.5"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a folder of six runs, by letter, and another with the first three as they were once recorded."""
    folder = tmp_path_factory.mktemp("momentum")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, words in {**AT_A_HALF, **OTHERS}.items():
            assert cli.run(["train", *QUICK, *words.split(), f"output_dir=runs/x/{name}"]) == 0
        for name, recorded in {"a": 0.5, "b": 0.1, "c": 0.01}.items():
            _leave_as_before(Path(f"runs/x/{name}"), Path(f"before/x/{name}"), recorded)
    yield folder


def _leave_as_before(run: Path, copy: Path, momentum: float) -> None:
    copy.mkdir(parents=True)
    config = yaml.safe_load((run / "config.yaml").read_text()) | {"momentum": momentum}
    result = json.loads((run / "result.json").read_text()) | {"config": config}
    (copy / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (copy / "result.json").write_text(json.dumps(result))


@pytest.fixture
def bnexp(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(folder)

    def call(*words: str) -> str:
        capsys.readouterr()
        assert cli.run(list(words)) == 0
        return capsys.readouterr().out

    return call


def chosen(bnexp: Any, *words: str) -> str:
    return "".join(sorted(row["name"] for row in json.loads(bnexp("runs", "--json", *words))))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("momentum=0.5", "abc"),
        ("momentum=0.1", "d"),
        ("momentum=0.01", ""),
        ("momentum>0.2", "abc"),
        ("norm.momentum=0.5", "abc"),
        ("momentum!=0.5", "def"),
        ("eps=1e-3", "c"),
        ("eps=0.5", "f"),
        ("eps=1e-5", "abd"),
    ],
)
def test_filters_ask_what_the_norm_has(bnexp: Any, word: str, expected: str) -> None:
    assert chosen(bnexp, word) == expected


@pytest.mark.parametrize("word", ["momentum=0.5", "momentum=0.1", "momentum=0.01"])
def test_runs_recorded_before_are_found_by_what_their_norm_has(bnexp: Any, word: str) -> None:
    assert chosen(bnexp, word, "--runs-dir", "before") == ("abc" if word == "momentum=0.5" else "")


@pytest.mark.parametrize("root", ["runs", "before"])
def test_equal_momenta_are_no_choice_and_others_are(bnexp: Any, root: str) -> None:
    listed = bnexp("runs", "momentum=0.5", "--runs-dir", root)
    assert "momentum" not in listed and listed.count("eps 1e-05") == 2 and listed.count("eps 0.001") == 1
    compared = bnexp("compare", "momentum=0.5", "--runs-dir", root)
    assert "momentum" not in compared.splitlines()[0] and "eps" in compared.splitlines()[0]


def test_the_list_says_momentum_where_a_norm_has_one(bnexp: Any) -> None:
    lines = {line.split()[0]: line for line in bnexp("runs").splitlines()}
    momenta = {name: re.findall(r"momentum (\S+?)[, ]", line) for name, line in lines.items()}
    assert momenta["x/a"] == momenta["x/b"] == momenta["x/c"] == ["0.5"] and momenta["x/d"] == ["0.1"]
    assert momenta["x/e"] == momenta["x/f"] == [] and "no norm" in lines["x/e"]


@pytest.mark.parametrize("name", [*AT_A_HALF])
@pytest.mark.parametrize("root", ["runs", "before"])
def test_show_says_what_the_norm_has(bnexp: Any, name: str, root: str) -> None:
    assert "momentum=0.5" in bnexp("runs", "show", name, "--runs-dir", root)


def test_show_says_no_momentum_of_a_norm_without(bnexp: Any) -> None:
    assert "momentum" not in bnexp("runs", "show", "e")


def test_diff_names_no_difference_that_is_none(bnexp: Any) -> None:
    for root in ("runs", "before"):
        assert bnexp("diff", "a", "b", "--runs-dir", root).splitlines()[2] == "the same computation"
        rows = json.loads(bnexp("diff", "a", "b", "--json", "--runs-dir", root))
        assert [row for row in rows if row["part"] == "configuration" and row["key"] != "output_dir"] == []


@pytest.mark.parametrize("name", [*AT_A_HALF])
def test_the_files_record_what_the_norm_has(folder: Path, name: str) -> None:
    run = folder / "runs" / "x" / name
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["momentum"] == config["norm"]["momentum"] == config["head_norm"]["momentum"] == 0.5
    assert json.loads((run / "result.json").read_text())["config"] == config
    assert hparams(run)["momentum"] == "0.5"


def hparams(run: Path) -> dict[str, Any]:
    events = EventAccumulator(str(run)).Reload()
    data = HParamsPluginData.FromString(
        events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    )
    found = data.session_start_info.hparams.items()
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in found}


def test_three_words_train_the_same_network(folder: Path) -> None:
    a, b = (json.loads((folder / "runs" / "x" / name / "result.json").read_text()) for name in "ab")
    assert a["config_hash"] == b["config_hash"] and a["loss/test"] == b["loss/test"]


def test_a_sweep_runs_what_a_norm_ignores_once(bnexp: Any, tmp_path: Path) -> None:
    words = ("norm=none,custom", "momentum=0.1,0.5", f"runs_dir={tmp_path}")
    out = bnexp("train", "-m", *QUICK, *words, "--print-trials")
    assert out.count("dropped:") == 1 and "norm=none momentum=0.5" in out.partition("dropped:")[2]
    assert "3 jobs" in out


def test_a_sweep_over_a_shorthand_that_a_word_overrules_is_one_run(bnexp: Any, tmp_path: Path) -> None:
    words = ("decay=0.9,0.5", "norm.momentum=0.3", f"runs_dir={tmp_path}")
    out = bnexp("train", "-m", *QUICK, *words, "--print-trials")
    assert "1 jobs" in out and out.count("dropped:") == 1


def test_lists_pair_with_shorthands_and_trial_files_may_hold_them(bnexp: Any, tmp_path: Path) -> None:
    words = ("momentum=0.1,0.5", "eps=1e-3,1e-4", "--pair", "momentum,eps", f"runs_dir={tmp_path}")
    assert "2 jobs" in bnexp("train", "-m", *QUICK, *words, "--print-trials")
    table = tmp_path / "trials.csv"
    table.write_text("momentum,norm.momentum,decay\n0.5,,\n,0.5,\n,,0.5\n0.1,0.5,\n0.1,,\n")
    out = bnexp("train", "--trials", str(table), *QUICK, f"runs_dir={tmp_path}", "--print-trials")
    assert "2 jobs" in out and out.count("dropped:") == 3


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("convention=keras", "custom-keras-b"),
        ("convention=keras norm.momentum=0.5", "custom-b"),
        ("convention=keras norm.momentum=0.01", "custom-keras-b"),
        ("convention=keras norm=frn", "frn-b"),
        ("convention=keras norm=none", "none-b"),
        ("convention=keras norm=frozen", "frozen-keras-b"),
    ],
)
def test_a_runs_name_says_a_convention_that_its_norm_follows(
    bnexp: Any, tmp_path: Path, words: str, name: str
) -> None:
    bnexp("train", *QUICK, *words.split(), f"runs_dir={tmp_path}")
    (run,) = tmp_path.glob("default/*")
    assert run.name.startswith(name)
