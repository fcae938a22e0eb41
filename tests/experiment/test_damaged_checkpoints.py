"""Damage is noticed, what is another run's is refused, and what is lost is said."""

from __future__ import annotations

import copy
import json
import random
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from whole_runs import STEPS_PER_EPOCH, Ran, Train, assert_same_run, load, resume, trained

from bnexp import cli
from bnexp.composition.compose import as_yaml, restore
from bnexp.engine import checkpoint
from bnexp.runs import ownership
from bnexp.runs.directory import RunDirectory

WORDS = ("model=mlp", "model.hidden=[20]", "norm=builtin")
STOP = 8  # in the second of three epochs: previous.pt is of step 6, as is best.pt


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped; tests work on copies of it."""
    return trained(tmp_path_factory.mktemp("stopped"), *WORDS, stop_after=STOP).path


@pytest.fixture
def stopped(interrupted: Path, tmp_path: Path) -> Ran:
    """A copy under another name, which is the same run."""
    return Ran(RunDirectory(Path(shutil.copytree(interrupted, tmp_path / "runs" / "default" / "copy"))))


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[[Ran], str]:
    """Resume a run by the verb; return the one line that refuses it, which changes nothing else."""

    def resume_and_fail(ran: Ran) -> str:
        kept = ("result.json", "metrics.jsonl", "last.pt", "best.pt", "previous.pt", "config.yaml")
        before = {name: content(ran.path / name) for name in kept}
        capsys.readouterr()
        assert cli.run(["resume", str(ran.path)]) == 2
        assert {name: content(ran.path / name) for name in kept} == before
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return resume_and_fail


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def warned(ran: Ran) -> str:
    """What the log says since the run was resumed."""
    return ran.directory.log_file.read_text().rpartition("resumed by")[2]


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


def places(path: Path) -> dict[str, int]:
    """Return a byte in the middle of each member of an archive, by the member's name."""
    data, found = path.read_bytes(), {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name, extra = (data[member.header_offset + 26 + at] for at in (0, 2))
            extra += 256 * data[member.header_offset + 29]
            found[member.filename] = member.header_offset + 30 + name + extra + member.file_size // 2
    return found


def rewrite(path: Path, change: Callable[[dict[str, Any]], object], *, signed: bool = True) -> None:
    """Change what a checkpoint holds, with the digest of what it then holds, or with none."""
    saved = checkpoint.whole(path)
    change(saved)
    if signed:
        checkpoint.write(path, saved)
    else:
        torch.save(saved, path)


def test_a_copy_under_another_name_goes_on(stopped: Ran, settled: Train) -> None:
    assert_same_run(resume(stopped), settled(*WORDS))
    assert "WARNING" not in warned(stopped).replace("WARNING momentum", "")
    assert not stopped.directory.previous_file.exists()


def test_a_flipped_byte_anywhere_in_an_archive_is_noticed_and_the_member_named(stopped: Ran) -> None:
    for name, place in places(stopped.directory.last_file).items():
        shutil.copy(stopped.directory.last_file, stopped.path / "copy.pt")
        flip(stopped.path / "copy.pt", place)
        with pytest.raises(checkpoint.CheckpointError, match=f"is damaged: {name} in it"):
            checkpoint.read_last(stopped.path / "copy.pt")


def test_a_damaged_last_checkpoint_gives_way_to_the_one_before(stopped: Ran, settled: Train) -> None:
    flip(stopped.directory.last_file, max(places(stopped.directory.last_file).values()) // 2)
    assert_same_run(resume(stopped), settled(*WORDS))
    assert f"going on from previous.pt of step {STEPS_PER_EPOCH}" in warned(stopped)


def test_a_missing_last_checkpoint_gives_way_to_the_one_before(stopped: Ran, settled: Train) -> None:
    stopped.directory.last_file.unlink()
    assert_same_run(resume(stopped), settled(*WORDS))
    assert "last.pt is missing: going on from previous.pt of step 6" in warned(stopped)


def test_where_both_are_damaged_the_line_says_how_to_start_over(
    stopped: Ran, settled: Train, refused: Callable[[Ran], str]
) -> None:
    for file in (stopped.directory.last_file, stopped.directory.previous_file):
        file.write_bytes(file.read_bytes()[:-200])
    line = refused(stopped)
    assert "cut short, damaged" in line and "previous.pt, and the run starts over" in line
    for file in (stopped.directory.last_file, stopped.directory.previous_file):
        file.unlink()
    assert_same_run(resume(stopped), settled(*WORDS))


@pytest.mark.parametrize("file", ["last.pt", "best.pt"])
@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("seed=1", "seed 1 instead of 0"),
        ("optimizer.lr=0.01", "optimizer.lr 0.01 instead of 0.05"),
        ("norm=custom", 'norm._target_ "bnexp.norms.custom.Custom'),
        ("batch_size=8", "batch_size 8 instead of 16"),
        ("threads=1", "of the same configuration"),
    ],
)
def test_a_file_of_another_run_is_refused_with_what_differs(
    stopped: Ran, settled: Train, refused: Callable[[Ran], str], file: str, word: str, told: str
) -> None:
    other = settled(*[w for w in WORDS if w.partition("=")[0] != word.partition("=")[0]], word)
    shutil.copy(other.path / file, stopped.path / file)
    line = refused(stopped)
    assert f"{file} is another run's (" in line and told in line


def test_a_configuration_changed_by_hand_is_refused_with_what_differs(
    stopped: Ran, settled: Train, refused: Callable[[Ran], str]
) -> None:
    file = stopped.directory.config_file
    text = file.read_text()
    file.write_text(text.replace("lr: 0.05\n", "lr: 0.2\n"))
    assert "config.yaml was changed after the run began (optimizer.lr 0.2 instead of 0.05)" in refused(
        stopped
    )
    stopped.directory.ownership_file.rename(stopped.path / "elsewhere")
    assert "another run's (optimizer.lr 0.05 instead of 0.2)" in refused(stopped)
    (stopped.path / "elsewhere").rename(stopped.directory.ownership_file)
    for checkpoint_file in stopped.path.glob("*.pt"):
        checkpoint_file.unlink()
    assert "config.yaml was changed" in refused(stopped)
    file.write_text(text)
    assert_same_run(resume(stopped), settled(*WORDS))


def test_folders_may_be_changed_and_nothing_is_missed_without_the_id(stopped: Ran, settled: Train) -> None:
    file = stopped.directory.config_file
    file.write_text(file.read_text().replace("runs_dir: ", "runs_dir: /elsewhere"))
    stopped.directory.ownership_file.unlink()
    assert_same_run(resume(stopped), settled(*WORDS))


def test_best_weights_that_are_lost_are_made_again_where_a_checkpoint_has_them(
    stopped: Ran, settled: Train
) -> None:
    assert stopped.best["step"] == load(stopped.directory.previous_file)["state"]["step"]
    stopped.directory.best_file.unlink()
    assert_same_run(resume(stopped), settled(*WORDS))
    assert "best.pt does not exist: made again from previous.pt" in warned(stopped)


@pytest.mark.parametrize("lose", [Path.unlink, lambda path: flip(path, max(places(path).values()))])
def test_best_weights_that_nothing_else_has_are_asked_for(
    stopped: Ran, refused: Callable[[Ran], str], lose: Callable[[Path], object]
) -> None:
    lose(stopped.directory.best_file)
    stopped.directory.previous_file.unlink()
    line = refused(stopped)
    assert "best.pt" in line and line.endswith("last.pt, and the run starts over")


def nan(saved: dict[str, Any]) -> None:
    next(iter(saved["model"].values()))[0] = float("nan")


def meta(saved: dict[str, Any]) -> None:
    name = next(iter(saved["model"]))
    saved["model"][name] = saved["model"][name].to("meta")


def moments(saved: dict[str, Any]) -> None:
    saved["optimizer"]["state"][0]["momentum_buffer"] = torch.zeros(3)


STATES = [
    {"threads": 10**6},
    {"threads": True},
    {"step": -1},
    {"step": "8"},
    {"step": 1.5},
    {"examples": None},
    {"seconds": float("nan")},
    {"best_loss": "x"},
    {"best_step": 1.0},
    {"latest": [1]},
    {"latest": {"loss/val": "x"}},
    {"more": 1},
]


@pytest.mark.parametrize(
    "change", [nan, meta, moments, *STATES], ids=lambda one: getattr(one, "__name__", str(one))
)
@pytest.mark.parametrize("signed", [True, False])
def test_what_no_run_can_have_saved_is_refused_in_one_line(
    stopped: Ran, refused: Callable[[Ran], str], change: Any, signed: bool
) -> None:
    stopped.directory.previous_file.unlink()
    changed = change if callable(change) else lambda saved: saved["state"].update(change)
    rewrite(stopped.directory.last_file, changed, signed=signed)
    assert "last.pt" in refused(stopped)


def test_a_pickle_or_weights_in_place_of_a_checkpoint_are_refused(
    stopped: Ran, refused: Callable[[Ran], str]
) -> None:
    stopped.directory.previous_file.unlink()
    shutil.copy(stopped.directory.best_file, stopped.directory.last_file)
    assert "must be a run's own last.pt, it lacks optimizer, scaler, state, streams" in refused(stopped)
    torch.save(Path("x"), stopped.directory.last_file)
    assert "holds objects of the class pathlib" in refused(stopped)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def change_a_number(path: Path) -> None:
    path.write_text(path.read_text().replace("0.", "1.", 1))


@pytest.mark.parametrize("damage", [cut, zero, empty, Path.unlink, change_a_number])
def test_rows_that_are_lost_are_counted(
    stopped: Ran, settled: Train, damage: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(stopped.rows) - 1
    damage(stopped.directory.metrics_file)
    assert cli.run(["resume", str(stopped.path)]) == 0
    left = len(settled(*WORDS).rows) - len(stopped.rows)
    told = f"metrics.jsonl is damaged: of {before} rows before the checkpoint {before - left} can be read"
    assert told in warned(stopped) and told in capsys.readouterr().out
    steps = [row["step"] for row in stopped.rows]
    assert steps == sorted(set(steps)) and steps[-1] == 18


def test_the_row_of_the_checkpoint_and_what_came_after_it_may_be_lost(stopped: Ran, settled: Train) -> None:
    file = stopped.directory.metrics_file
    file.write_bytes(file.read_bytes()[:-20])
    assert_same_run(resume(stopped), settled(*WORDS))
    assert "is damaged" not in warned(stopped)


@pytest.mark.parametrize("damage", [cut, zero, Path.unlink])
def test_events_that_are_lost_are_told(
    stopped: Ran, settled: Train, damage: Callable[[Path], object]
) -> None:
    (events,) = stopped.path.glob("events.*")
    damage(events)
    assert_same_run(resume(stopped), settled(*WORDS))
    assert f"{events.name} in" in warned(stopped) and "before step 8" in warned(stopped)


def test_a_folder_of_a_run_that_died_before_it_began_is_taken(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("run.lock", "run.json", f".config.yaml.{2**22 + 1}.tmp"):
        (folder / name).write_text("")
    assert cli.run(["resume", str(folder)]) == 2
    assert "was left by a run that died before it began: train once more" in capsys.readouterr().err
    ran = train(*WORDS, "steps=1", f"output_dir={folder}")
    assert ran.path == folder and json.loads(ran.directory.result_file.read_text())["status"] == "finished"
    assert not list(folder.glob(".*"))


def test_a_configuration_that_bnexp_itself_changes_is_the_runs_own(stopped: Ran, settled: Train) -> None:
    """More steps, as `bnexp resume RUN steps=24` gives them: the checkpoint still holds the ones before."""
    longer = restore(stopped.directory.read_config())
    longer.epochs, longer.steps = None, 24
    ownership.change(stopped.directory, as_yaml(longer), asdict(longer))
    resume(stopped)
    assert (stopped.result["status"], stopped.result["step"]) == ("finished", 24)
    assert json.loads(stopped.last["config"])["steps"] == 24


def test_killed_while_its_configuration_is_changed_a_run_has_the_one_before(
    stopped: Ran, settled: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = restore(stopped.directory.read_config())
    longer.epochs, longer.steps = None, 24
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunDirectory, "write_config", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        ownership.change(stopped.directory, as_yaml(longer), asdict(longer))
    assert_same_run(resume(stopped), settled(*WORDS))


ODD = ["x", None, 10**30, -1, float("nan"), [], {}, torch.zeros(3), True, 1.5]


def places_in(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where something stands in nested dicts and lists, as the keys that lead there."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(found for key, item in items for found in places_in(item, (*place, key)))]


@pytest.mark.parametrize("words", [("optimizer=adamw", "norm=noisy"), ("precision=float16",)], ids=" ".join)
def test_no_value_of_another_kind_is_a_bug_of_a_later_step(
    train: Train, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Sixty values put somewhere else, under a digest that agrees: a line, or a run that goes on."""
    ran = train(*WORDS[:2], "telemetry=none", *words, stop_after=STOP)
    ran.directory.previous_file.unlink()
    whole, kept = checkpoint.whole(ran.directory.last_file), shutil.copytree(ran.path, tmp_path / "kept")
    draw = random.Random(0)
    for place in draw.sample([place for place in places_in(whole) if place], 60):
        shutil.copytree(kept, ran.path, dirs_exist_ok=True)
        changed = copy.deepcopy(whole)
        inner: Any = changed
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = draw.choice(ODD)
        checkpoint.write(ran.directory.last_file, changed)
        try:
            resume(ran, stop_after=1)
        except checkpoint.CheckpointError as error:
            assert len(str(error).splitlines()) == 1
