"""`bnexp check` as a user meets it: exit codes, the table, the file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COMMAND = str(Path(sys.executable).with_name("bnexp"))
WRONG = """
from torch import nn

class Wrong(nn.Module):
    def __init__(self, num_features, spatial):
        super().__init__()

    def forward(self, x):
        return x.detach() * 2 + x
"""


def test_a_right_norm_exits_with_0_and_leaves_the_matrix(tmp_path: Path) -> None:
    done = subprocess.run(
        [COMMAND, "check", "norm=none"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].endswith(" not applicable; every cell: runs/check.json")
    kept = json.loads((tmp_path / "runs" / "check.json").read_text(encoding="utf-8"))
    assert kept["failed"] == 0
    assert kept["passed"] == sum(cell["status"] == "pass" for cell in kept["cells"])
    (cell,) = (
        cell
        for cell in kept["cells"]
        if (cell["check"], cell["place"], cell["case"]) == ("forward", "2d", "train")
    )
    assert cell == {
        "norm": "none",
        "check": "forward",
        "place": "2d",
        "case": "train",
        "status": "pass",
        "error": 0.0,
        "tolerance": 1e-12,
        "reason": "",
    }


def test_a_wrong_norm_exits_with_1_and_is_told_where(
    bnexp: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrongnorms.py").write_text(WRONG, encoding="utf-8")
    (tmp_path / "bnexp_conf" / "norm").mkdir(parents=True)
    yaml = "# Wrong.\n_target_: wrongnorms.Wrong\n_partial_: true\n"
    (tmp_path / "bnexp_conf" / "norm" / "wrong.yaml").write_text(yaml, encoding="utf-8")
    answer = bnexp("check", "norm=wrong", "--plugin", "wrongnorms", "--json", "out/here.json")
    assert (answer.code, answer.err) == (1, "")
    assert "fail: wrong input gradient 2d (train): " in answer.out
    assert json.loads((tmp_path / "out" / "here.json").read_text(encoding="utf-8"))["failed"] > 0


README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("gain", "code"), [("gain", 0), ('gain"] + given.knobs["gain', 1)])
def test_a_norm_of_ones_own_is_held_to_the_formula_that_it_promises(
    bnexp: Callable[..., Any], tmp_path: Path, gain: str, code: int
) -> None:
    """The module and its YAML are the README's."""
    name = f"promising{code}"
    module, yaml = (re.search(rf"```{kind}\n(.*?)```", README, re.DOTALL)[1] for kind in ("python", "yaml"))
    module = module.replace('["gain"]', f'["{gain}"]')
    (tmp_path / f"{name}.py").write_text(module, encoding="utf-8")
    (tmp_path / "bnexp_conf" / "norm").mkdir(parents=True)
    yaml = yaml.replace("mynorms.", f"{name}.")
    (tmp_path / "bnexp_conf" / "norm" / "center.yaml").write_text(yaml, encoding="utf-8")
    answer = bnexp("check", "norm=center", "--plugin", name)
    assert (answer.code, answer.err) == (code, "")
    assert ("fail: center forward 2d (train): " in answer.out) == bool(code)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["norm=custm"], "norm=custm: must be one of"),
        (["batch_size=8"], "batch_size=8: check takes norm, momentum"),
        (["norm=custom", "norm.groups=2"], "norm=custom has no knob 'groups'"),
        (["device=mps"], "mps"),
        (["device=tpu0"], "device must be"),
        (["device=cpu,cuda"], "check takes one device, got cpu, cuda"),
    ],
)
def test_a_mistake_exits_with_2_in_one_line(
    bnexp: Callable[..., Any], tmp_path: Path, words: list[str], said: str
) -> None:
    answer = bnexp("check", *words)
    assert (answer.code, answer.out) == (2, "")
    (line,) = answer.lines
    assert said in line
    assert not (tmp_path / "runs").exists()
