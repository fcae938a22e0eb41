"""Nothing in a folder of runs, or of images, makes a command wait or fill the memory."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest
from PIL import Image
from synthetic_runs import config, leave_run

from bnexp import cli, plain_files

PATIENCE_S = 60  # a hang lasts for ever; no test waits so long otherwise
BOMB = "\n".join(["a: &a0 [x, x]", *(f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))])


@pytest.fixture(autouse=True)
def alarmed() -> Iterator[None]:
    def hung(number: int, frame: FrameType | None) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(PATIENCE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    result = {"status": "finished", "loss_test": 1.0, "accuracy_test": 0.5, "step": 1}
    leave_run(tmp_path / "runs/default/b_20260101-000000-0000", config(), **result)
    return leave_run(tmp_path / "runs/default/a_20260102-000000-0000", config(), **result).path


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def bomb(path: Path) -> None:
    path.write_text(f"norm: {{}}\n{BOMB}\n")


def itself(path: Path) -> None:
    path.write_text("norm: &n {again: *n}\n")


def deep(path: Path) -> None:
    path.write_text("norm: " + "[" * 100_000 + "]" * 100_000)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(plain_files.MOST_BYTES + 1)


DAMAGES: list[tuple[str, Callable[[Path], None]]] = [
    ("config.yaml", bomb),
    ("config.yaml", itself),
    ("config.yaml", deep),
    ("config.yaml", huge),
    ("result.json", pipe),
    ("result.json", huge),
    ("metrics.jsonl", pipe),
    ("events.out.tfevents.1767312000.host.1.0", pipe),
    ("log.txt", pipe),
    ("last.pt", pipe),
    ("best.pt", pipe),
    ("run.json", pipe),
    ("run.lock", pipe),
]
VERBS = [
    ("runs",),
    ("runs", "show", "last"),
    ("compare",),
    ("report", "-o", "r.html"),
    ("plot", "last"),
    ("diff", "default/a_20260102-000000-0000", "default/b_20260101-000000-0000"),
    ("resume", "last"),
    ("eval", "last"),
    ("train", "weights=last", "steps=1", "threads=1"),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES, ids=[f"{name} {how.__name__}" for name, how in DAMAGES])
def test_every_verb_ends_in_lines(
    run: Path, name: str, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    damage(run / name)
    for words in VERBS:
        assert cli.run(words) in (0, 2), words
        assert all(line.startswith("bnexp: ") for line in capsys.readouterr().err.splitlines())


def test_what_is_broken_is_listed_as_broken(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where result.json holds the configuration, config.yaml is not asked."""
    bomb(run / "config.yaml")
    (run / "result.json").unlink()
    assert cli.run(["runs", "--json"]) == 0
    statuses = {row["name"]: row["status"] for row in json.loads(capsys.readouterr().out)}
    assert statuses == {run.name: "broken", "b_20260101-000000-0000": "finished"}


def test_a_pipe_among_images_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "test"):
        for kind in ("cat", "dog"):
            folder = tmp_path / "images" / split / kind
            folder.mkdir(parents=True)
            for number in range(5):
                Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
    pipe(tmp_path / "images" / "train" / "cat" / "0.png")
    words = ("data=image_folder", f"data.root={tmp_path}/images", "steps=1", "threads=1", "model=mlp")
    assert cli.run(["doctor", *words, f"data_dir={tmp_path}"]) in (0, 2)
    assert "0.png" in "".join(capsys.readouterr())
