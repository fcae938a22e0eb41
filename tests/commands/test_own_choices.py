"""A user's own YAMLs in bnexp_conf: they may build what ships, and what a plugin named by hand brings."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

MODULE = """
from torch import nn

class Mine(nn.Module):
    def __init__(self, num_features, spatial, *, scale: float = 1.0):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return x * self.scale

def untyped(num_features, spatial, *, scale=1.0):
    return nn.Identity()
"""
MINE = "# Mine, times a scale.\n_target_: mynorms.Mine\n_partial_: true\nscale: 1.0\n"


@pytest.fixture
def norm_yaml(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Return a function that writes bnexp_conf/norm/mine.yaml, beside the module mynorms."""
    (tmp_path / "mynorms.py").write_text(MODULE)
    folder = tmp_path / "bnexp_conf" / "norm"
    folder.mkdir(parents=True)

    def write(text: str) -> None:
        (folder / "mine.yaml").write_text(text, encoding="utf-8")

    write(MINE)
    yield write
    sys.modules.pop("mynorms", None)  # another test has another file of that name


def run_of(folder: Path) -> Path:
    (found,) = (path.parent for path in folder.glob("runs/*/*/config.yaml"))
    return found


def test_a_norm_of_ones_own_trains_with_its_plugin(
    train: Callable[..., Any], norm_yaml: Callable[[str], None], tmp_path: Path
) -> None:
    answer = train("--plugin", "mynorms", "norm=mine", "norm.scale=0.5")
    assert answer.code == 0
    assert any(line.split()[:2] == ["conv1.norm", "Mine"] for line in answer.out.splitlines())
    assert run_of(tmp_path).name.startswith("mine-b64-lenet-digits-s0")


def test_without_the_plugin_it_is_refused(
    train: Callable[..., Any], norm_yaml: Callable[[str], None], tmp_path: Path
) -> None:
    answer = train("norm=mine")
    assert answer.code == 2
    (line,) = answer.lines
    assert line.startswith("bnexp: norm._target_=mynorms.Mine is not a target of bnexp's own norm YAMLs")
    assert "--plugin" in line
    assert not (tmp_path / "runs").exists()


def test_its_knobs_are_checked_like_bnexps_own(
    train: Callable[..., Any], norm_yaml: Callable[[str], None]
) -> None:
    answer = train("--plugin", "mynorms", "norm=mine", "norm.scale=x")
    assert answer.lines == ["bnexp: norm.scale must be a number, got 'x'"]
    answer = train("--plugin", "mynorms", "norm=mine", "norm.scal=1")
    assert answer.lines == ["bnexp: norm=mine has no knob 'scal' (did you mean scale?)"]


def test_help_and_mistakes_know_its_name(bnexp: Callable[..., Any], norm_yaml: Callable[[str], None]) -> None:
    assert "Mine, times a scale." in bnexp("train", "--help").out
    answer = bnexp("train", "norm=min")
    assert ", layer_pixel, mine, noisy, " in answer.err
    assert "(did you mean mine?)" in answer.err


def test_a_sweep_finds_it(
    train: Callable[..., Any], norm_yaml: Callable[[str], None], tmp_path: Path
) -> None:
    assert train("-m", "--plugin", "mynorms", "norm=glob(m*),none").code == 2
    assert train("-m", "--plugin", "mynorms", "norm=glob(m*)").code == 0
    assert run_of(tmp_path).name.startswith("mine-")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("_target_: os.system\n_partial_: true\n", "norm._target_=os.system is not a target"),
        ("_target_: torch.hub.load\n_partial_: true\n", "norm._target_=torch.hub.load is not a target"),
        ("_target_: bnexp.data.digits.digits\n_partial_: true\n", "is not a target of bnexp's own norm"),
        ("_target_: ${device}\n_partial_: true\n", "norm._target_=auto is not a target"),
        ("_target_: mynorms.untyped\n_partial_: true\nscale:\n  _target_: os.system\n", "os.system is not a"),
        (
            "_target_: mynorms.untyped\n_partial_: true\nscale: [{_target_: os.system}]\n",
            "os.system is not a",
        ),
        ("_target_: mynorms.Absent\n_partial_: true\n", "norm._target_=mynorms.Absent cannot be found"),
        ("_target_: mynorms.Mine\nscale: 1.0\n", "norm._partial_ must be true in its YAML, got null"),
        ("_target_: mynorms.Mine\n_partial_: true\n_args_: [1]\n", "norm has no knob '_args_'"),
        ("scale: 1.0\n", "norm must be a choice with a _target_"),
        ("", "bnexp_conf/norm/mine.yaml says nothing: a choice names what is built, as `_target_"),
        ("- 1\n", "norm must be a choice with a _target_, got [1]"),
        ("3\n", "norm=mine: "),
        ("a: [1\n", "mine.yaml, line 2: "),
        ("plugin: [os]\n_target_: os.system\n_partial_: true\n", "norm._target_=os.system is not a target"),
    ],
)
def test_a_yaml_that_must_not_or_cannot_be_built_is_one_line(
    train: Callable[..., Any], norm_yaml: Callable[[str], None], tmp_path: Path, text: str, said: str
) -> None:
    norm_yaml(text)
    answer = train("--plugin", "mynorms", "norm=mine")
    assert answer.code == 2
    (line,) = answer.lines
    assert said in line
    assert not (tmp_path / "runs").exists()


def test_a_run_with_a_plugin_is_resumed_with_it_only(
    train: Callable[..., Any], bnexp: Callable[..., Any], norm_yaml: Callable[[str], None], tmp_path: Path
) -> None:
    assert train("--plugin", "mynorms", "norm=mine").code == 0
    result_file = run_of(tmp_path) / "result.json"
    result = json.loads(result_file.read_text())
    result_file.write_text(json.dumps({**result, "status": "interrupted"}))
    answer = bnexp("resume", "last")
    assert answer.code == 2
    assert "norm._target_=mynorms.Mine is not a target of bnexp's own norm YAMLs" in answer.err
    assert bnexp("resume", "last", "--plugin", "mynorms").code == 0
    assert json.loads(result_file.read_text())["status"] == "finished"


def test_a_finished_run_is_not_resumed(train: Callable[..., Any], bnexp: Callable[..., Any]) -> None:
    assert train("output_dir=here").code == 0
    answer = bnexp("resume", "here")
    assert (answer.code, answer.lines) == (2, ["bnexp: here is finished: there is nothing to resume"])


def test_a_tampered_run_is_not_resumed(
    train: Callable[..., Any], bnexp: Callable[..., Any], tmp_path: Path
) -> None:
    assert train("output_dir=here").code == 0
    result = json.loads((tmp_path / "here" / "result.json").read_text())
    (tmp_path / "here" / "result.json").write_text(json.dumps({**result, "status": "failed"}))
    config = tmp_path / "here" / "config.yaml"
    good = config.read_text(encoding="utf-8")
    for bad, said in (
        (good.replace("bnexp.models.lenet.LeNet", "os.system"), "model._target_=os.system is not a target"),
        ("3\n", "config.yaml"),
        (good.replace("seed: 0", "seed: x"), "config.yaml"),
    ):
        config.write_text(bad, encoding="utf-8")
        answer = bnexp("resume", "here")
        assert answer.code == 2
        (line,) = answer.lines
        assert said in line
    config.write_text(good, encoding="utf-8")
    assert bnexp("resume", "here").code == 0


def test_a_plugin_that_is_no_python_is_one_line(bnexp: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "unwritten.py").write_text("\ndef :\n")
    answer = bnexp("train", "--plugin", "unwritten")
    assert answer.code == 2
    (line,) = answer.lines
    assert line.startswith("bnexp: --plugin unwritten: ") and "unwritten.py, line 2: " in line
