"""A knob that a later version adds is one field and one default; what earlier versions left still answers.

The tests add knobs to a copy of the package, as a contributor would, and look at earlier runs with it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "tests/records/2026-12-01"
MLP = ("model=mlp", "model.hidden=[8]", "batch_size=16", "telemetry=none", "telemetry.scalars_every=5")
SHORT = ("steps=20", "data.train_size=100", "threads=1")
STOPPED = "builtin-b16-guard-skip-resnet-digits-s0_20261201-032141-4a41"
SCRIPT = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from bnexp.composition.compose import restore
from bnexp.runs.identity import config_hash
found = []
for path in sorted(Path("runs/default").glob("*/config.yaml")):
    config = asdict(restore(path.read_text(encoding="utf-8")))
    result = json.loads(path.with_name("result.json").read_text())
    found.append({"config": config, "then": result["config_hash"], "now": config_hash(config)})
print(json.dumps(found))
"""


def insert(path: Path, before: str, lines: str) -> None:
    """Put lines before the one place in a file where `before` stands."""
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, (path, before)
    path.write_text(text.replace(before, lines + before), encoding="utf-8")


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version with four more knobs: at the top, in a part of the schema, of all data sets, of one norm."""
    root = tmp_path_factory.mktemp("later")
    for name in ("bnexp", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    insert(
        root / "bnexp/config.py",
        "    weight_standardization: bool = field(",
        '    warmth: float = field(metadata=knob("a knob", Range(0), phrase="warmth {}", as_before=1.0))\n',
    )
    insert(root / "conf/train.yaml", "seed: 0\n", "warmth: 2.0\n")
    insert(
        root / "bnexp/config.py",
        "\n\n@dataclass\nclass FreezeNorm:",
        '\n    least: float = field(metadata=knob("of a gain", Range(0), as_before=0.0))\n',
    )
    insert(root / "conf/train.yaml", "  patience: null\n", "  least: 0.0\n")
    insert(
        root / "bnexp/choices.py",
        "    augment: bool = field(",
        '    mirror: bool = field(metadata=knob("only mirror images", as_before=False))\n',
    )
    for path in (root / "conf/data").glob("*.yaml"):
        insert(path, "augment: false", "mirror: false\n")
    insert(root / "bnexp/norms/custom.py", '        core: Core = "auto",\n', "        gain: float = 3.0,\n")
    insert(root / "conf/norm/custom.yaml", "core: auto", "gain: 3.0\n_as_before_: {gain: 1.0}\n")
    return root


@pytest.fixture
def runs(later: Path, tmp_path: Path) -> Any:
    """Return a function that runs the later version's bnexp in a folder of earlier runs."""
    folder = tmp_path / "work"
    shutil.copytree(RECORDS, folder)
    kept = {name: value for name, value in os.environ.items() if name != "BNEXP_DATA"}

    def run(*words: str, code: str = "from bnexp.cli import main; main()", status: int = 0) -> str:
        environment = {**kept, "PYTHONPATH": str(later), "COLUMNS": "200"}
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == status, done.stderr
        return done.stdout

    return run


def test_an_earlier_run_is_restored_as_it_was_and_hashes_as_it_did(runs: Any) -> None:
    found = json.loads(runs(code=SCRIPT))
    assert len(found) == 9
    for one in found:
        config = one["config"]
        assert (config["warmth"], config["early_stopping"]["least"], config["data"]["mirror"]) == (
            1.0,
            0.0,
            False,
        )
        assert one["now"] == one["then"]
        for norm in ("norm", "head_norm"):
            assert config[norm].get("gain") == (1.0 if "CustomNorm" in config[norm]["_target_"] else None)
            assert "_as_before_" not in config[norm]


def test_needed_finds_earlier_runs_where_the_knobs_are_as_before(runs: Any) -> None:
    sweep = ("-m", "norm=custom", "seed=0,1", *SHORT, *MLP, "--needed", "--print-trials")
    assert runs("train", *sweep, "warmth=1.0", "norm.gain=1").count("answered") == 2
    assert runs("train", *sweep, "warmth=1.0").count("answered") == 0
    assert runs("train", *sweep, "norm.gain=1").count("answered") == 0


def test_an_earlier_run_and_its_repetition_are_the_same_to_every_reader(runs: Any) -> None:
    words = ("norm=group", "seed=0", *SHORT, *MLP, "output_dir=runs/default/again")
    runs("train", *words, "warmth=1.0")
    again = json.loads(runs("runs", "warmth=1", "norm=group", "seed=0", "--json"))
    assert len(again) == 2
    first, second = (run["path"] for run in again)
    differences = {row["key"] for row in json.loads(runs("diff", first, second, "--json"))}
    assert not differences & {"warmth", "data.mirror", "early_stopping.least"}
    assert "warmth" not in runs("runs", "norm=group", "seed=0")


def test_earlier_runs_and_sweeps_go_on(runs: Any) -> None:
    runs("resume", STOPPED)
    assert "finished" in runs("resume", "norm-seed-92e00194")
    assert len(json.loads(runs("runs", "status=finished", "warmth=1", "--json"))) == 10


def test_the_field_alone_makes_the_knob_known(runs: Any) -> None:
    assert "warmth: 2.0" in runs("train", "--help")
    assert runs("__complete", "zsh", "bnexp", "train", "warm").split("\t") == ["warmth=", "a knob\n"]
    runs("train", "warmth=-1", "--cfg", "job", status=2)
    runs("train", *SHORT, *MLP, "norm=none", "output_dir=runs/default/warm")
    listed = runs("runs", "status=finished", "warmth>0", "norm=none,group")
    assert "warmth 2.0" in listed and "warmth 1.0" in listed
