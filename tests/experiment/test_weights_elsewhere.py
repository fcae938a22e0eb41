"""A run's weights serve without bnexp, as docs/checkpoints.md says; files of earlier versions still load."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from whole_runs import Train, assert_same_run, ready, resume

from bnexp.data.digits import digits

DOCS = Path(__file__).parents[2] / "docs" / "checkpoints.md"
ALONE = """
import sys
sys.modules["bnexp"] = None  # an import of it fails
import torch
images, labels = torch.load("images.pt", weights_only=True)
{recipe}
print((predictions == labels).float().mean().item())
"""


def test_the_recipe_of_the_docs_gives_the_accuracy_of_the_run(train: Train, tmp_path: Path) -> None:
    """In a process that cannot import bnexp, in a folder that holds best.pt."""
    ran = train("steps=40", "data.train_size=null", "batch_size=64", "telemetry=none")
    test = digits(tmp_path).test
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "best.pt").write_bytes(ran.directory.best_file.read_bytes())
    torch.save((test.images, test.labels), folder / "images.pt")
    recipe = "\n".join(re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL))
    assert "bnexp" not in recipe
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE.format(recipe=recipe)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    accuracy = ran.result["accuracy/test"]
    assert accuracy > 0.3, "a network at chance would prove little"
    # One image may lie so near two classes that another batch size decides it.
    assert float(done.stdout) == pytest.approx(accuracy, abs=1.01 / len(test))


def test_the_pixels_mean_and_deviation_are_kept_in_all_three_files(train: Train, tmp_path: Path) -> None:
    ran = train("steps=2")
    with ready(tmp_path, "steps=2") as prepared:
        images = prepared.parts.splits.train.images.double() / 255
    for kept in (ran.result, ran.best, ran.last):
        assert kept["pixel_mean"] == pytest.approx([images.mean().item()], rel=1e-12)
        assert kept["pixel_std"] == pytest.approx([images.std(correction=0).item()], rel=1e-12)


def test_checkpoints_of_before_start_and_go_on(train: Train, settled: Train, tmp_path: Path) -> None:
    stopped = train(stop_after=8)
    for file in (stopped.directory.last_file, stopped.directory.best_file):
        content = torch.load(file, weights_only=True)
        del content["pixel_mean"], content["pixel_std"]
        torch.save(content, file)
    began = train(f"weights={stopped.path}", "steps=1")
    assert began.rows[0]["loss/val"] == min(stopped.column("loss/val"))
    assert_same_run(resume(stopped), settled())
