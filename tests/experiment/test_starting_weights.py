"""weights=RUN or FILE: a run starts where another ended."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from oracles import assert_close
from whole_runs import Ran, Train, assert_same, load, ready

from bnexp import cli
from bnexp.errors import CheckpointError
from bnexp.experiment.run import Experiment

# The validation loss is lowest after the second epoch.
COURSE = ("activation=relu", "optimizer.lr=1", "schedule=constant", "epochs=3")
SOURCE = ("model=mlp", "model.hidden=[20]", *COURSE)


@pytest.fixture
def source(train: Train) -> Ran:
    return train(*SOURCE)


def test_a_run_starts_from_another_runs_best_weights(train: Train, source: Ran) -> None:
    assert source.result["best_step"] < source.result["step"]
    for reference in ("last", str(source.path), source.path.name, str(source.directory.best_file)):
        started = train(*SOURCE[:3], f"weights={reference}", "steps=1")
        assert started.rows[0]["loss/val"] == source.result["loss/val"]
        assert started.rows[0]["accuracy/val"] == source.result["accuracy/val"]


def test_what_a_run_started_from_is_recorded_for_good(
    train: Train, source: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`last` means another run as soon as this one has begun."""
    started = [train(*SOURCE[:3], f"weights={reference}", "steps=1") for reference in ("last", "last")]
    sources = [yaml.safe_load(ran.directory.config_file.read_text())["weights"] for ran in started]
    assert sources == [str(ran.directory.best_file.resolve()) for ran in (source, started[0])]
    assert len({ran.result["config_hash"] for ran in started}) == 2
    monkeypatch.chdir(source.path)
    relative = train(*SOURCE[:3], "weights=best.pt", "steps=1")
    assert relative.result["config_hash"] == started[0].result["config_hash"]


def test_every_run_of_a_sweep_starts_from_the_same_weights(train: Train, source: Ran, tmp_path: Path) -> None:
    words = ("threads=1", "data.train_size=100", *SOURCE[:3], "steps=1", f"runs_dir={tmp_path}/runs")
    assert cli.run(["train", "-m", *words, "weights=last", "seed=0,1"]) == 0
    swept = [path for path in tmp_path.glob("runs/*/*/config.yaml") if path.parent != source.path]
    assert [yaml.safe_load(path.read_text())["weights"] for path in swept] == [
        str(source.directory.best_file.resolve())
    ] * 2


def test_a_resumed_run_has_no_need_of_what_it_started_from(
    train: Train, tmp_path: Path, source: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = train(*SOURCE[:3], f"weights={source.path}", stop_after=8)
    config = stopped.directory.config_file.read_text()
    shutil.rmtree(source.path)
    assert cli.run(["resume", str(stopped.path)]) == 0
    assert stopped.result["status"] == "finished"
    assert stopped.directory.config_file.read_text() == config
    stopped.directory.last_file.unlink()
    stopped.directory.result_file.unlink()
    capsys.readouterr()
    assert cli.run(["resume", str(stopped.path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(source.path) in line


def test_a_bare_state_dict_serves_as_well(train: Train, tmp_path: Path, source: Ran) -> None:
    torch.save(source.last["model"], tmp_path / "weights.pt")
    with ready(tmp_path, *SOURCE, f"weights={tmp_path}/weights.pt") as prepared:
        assert_same(prepared.parts.learner.model.state_dict(), source.last["model"])


def test_weights_survive_channels_last_and_the_optimizer_moves_them(train: Train, source: Ran) -> None:
    words = (f"weights={source.path}", "optimizer.momentum=0")
    slow = [word for word in SOURCE if not word.startswith("optimizer.lr=")]
    still = train(*slow, *words, "optimizer.lr=0")
    moved = train(*SOURCE, *words, "channels_last=true")
    weights = [name for name in source.best["model"] if name.endswith("weight")]
    for name in weights:
        assert torch.equal(still.last["model"][name], source.best["model"][name])
        assert not torch.equal(moved.last["model"][name], source.best["model"][name])


def test_the_classifier_is_left_out_where_the_classes_differ(tmp_path: Path, source: Ran) -> None:
    state = dict(source.best["model"])
    state["classifier.weight"], state["classifier.bias"] = torch.zeros(7, 20), torch.zeros(7)
    torch.save(state, tmp_path / "seven.pt")
    with ready(tmp_path, *SOURCE) as fresh:
        initial = {name: value.clone() for name, value in fresh.parts.learner.model.state_dict().items()}
    with ready(tmp_path, *SOURCE, f"weights={tmp_path}/seven.pt") as prepared:
        loaded = prepared.parts.learner.model.state_dict()
        (note,) = [note for note in prepared.notes if "weights" in note]
    assert "another number of classes" in note
    for name, value in loaded.items():
        assert torch.equal(value, initial[name] if name.startswith("classifier.") else state[name]), name


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("norm.affine=false",), "has tensors that this network lacks: dense1.norm"),
        (("model.hidden=[20,20]",), "lacks tensors of this network: dense2"),
        (("model.hidden=[21]",), "has other shapes for dense1"),
        (("model=lenet",), "lacks tensors of this network: conv1"),
    ],
)
def test_weights_of_another_network_are_refused_in_one_line(
    tmp_path: Path,
    source: Ran,
    words: tuple[str, ...],
    part: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = {
        word.partition("=")[0]: word for word in (*(() if words == ("model=lenet",) else SOURCE[:2]), *words)
    }
    before = set(tmp_path.glob("runs/*/*"))
    words = ("threads=1", f"runs_dir={tmp_path}/runs", *given.values(), f"weights={source.path}")
    assert cli.run(["train", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert part in line
    assert set(tmp_path.glob("runs/*/*")) == before


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("dense1.weight", "wrong", "must hold real tensors only, dense1.weight is none"),
        ("dense1.weight", None, "must hold real tensors only, dense1.weight is none"),
        ("dense1.weight", torch.zeros(20, 784, dtype=torch.complex64), "must hold real tensors only"),
        ("epoch", 3, "must hold real tensors only, epoch is none"),
        ("dense1.norm.running_var", torch.full((20,), math.nan), "dense1.norm.running_var is not"),
        ("classifier.bias", torch.full((10,), 1e300, dtype=torch.float64), "classifier.bias is not"),
        ("classifier.weight", torch.zeros(10, 21), "has other shapes for classifier.weight"),
        ("classifier.weight", torch.zeros(200), "has other shapes for classifier.weight"),
    ],
)
def test_weights_that_no_network_could_have_are_refused_in_one_line(
    tmp_path: Path, source: Ran, name: str, value: object, part: str
) -> None:
    torch.save({**source.best["model"], name: value}, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=re.escape(part)) as caught:
        built(tmp_path, *SOURCE, f"weights={tmp_path}/odd.pt")
    assert len(str(caught.value).splitlines()) == 1


def test_a_model_that_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save({"model": [1, 2]}, tmp_path / "list.pt")
    with pytest.raises(
        CheckpointError, match="must hold tensors by name, as a state_dict does, and has none"
    ):
        built(tmp_path, f"weights={tmp_path}/list.pt")


def notes(run: Experiment) -> list[str]:
    return [note for note in run.notes if note.startswith("weights")]


def test_weights_of_a_wrapper_are_taken_with_a_note(tmp_path: Path, source: Ran) -> None:
    """Lightning saves a module's attributes, the loss among them."""
    state = {f"model.{name}": value for name, value in source.best["model"].items()}
    torch.save({"state_dict": state | {"loss.weight": torch.ones(10)}, "epoch": 3}, tmp_path / "light.ckpt")
    prepared = built(tmp_path, *SOURCE, f"weights={tmp_path}/light.ckpt")
    assert_same(prepared.parts.learner.model.state_dict(), source.best["model"])
    file = tmp_path / "light.ckpt"
    assert notes(prepared) == [
        f"weights: taken from state_dict (names without model.) of {file}",
        f"weights: left out loss.weight of {file}, which are not this network's",
    ]


def test_a_second_copy_of_the_network_is_told(tmp_path: Path, source: Ran) -> None:
    state = source.best["model"]
    average = {f"module.{name}": value for name, value in state.items()}
    torch.save({"net": state, "ema": average}, tmp_path / "two.pt")
    prepared = built(tmp_path, *SOURCE, f"weights={tmp_path}/two.pt")
    assert notes(prepared)[1:] == [
        f"weights: {tmp_path}/two.pt holds this network in other places too: ema (names without module.)"
    ]


def test_counts_of_batches_may_be_missing(tmp_path: Path, source: Ran) -> None:
    """torch had none before 0.4.1."""
    state = {k: v for k, v in source.last["model"].items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    prepared = built(tmp_path, *SOURCE, f"weights={tmp_path}/old.pt")
    loaded = prepared.parts.learner.model.state_dict()
    assert loaded.pop("dense1.norm.num_batches_tracked") == 0
    assert_same(loaded, state)
    assert notes(prepared) == [
        f"weights: {tmp_path}/old.pt has no num_batches_tracked; the counts begin at 0"
    ]


def test_weights_of_a_quite_different_network_are_named(tmp_path: Path) -> None:
    torch.save({"layer1.0.bn1.weight": torch.ones(2), "fc.weight": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError) as caught:
        built(tmp_path, *SOURCE, f"weights={tmp_path}/other.pt")
    assert str(caught.value) == (
        f"weights: {tmp_path}/other.pt has none of this network's tensors (dense1.linear.weight, "
        "dense1.norm.weight, dense1.norm.bias and 5 more), but layer1.0.bn1.weight, fc.weight; use its own "
        "model and norm"
    )


def test_a_classifier_of_other_classes_is_left_out_whole(tmp_path: Path, source: Ran) -> None:
    """Its bias alone would fit."""
    state = {**source.best["model"], "classifier.weight": torch.zeros(7, 20)}
    torch.save(state, tmp_path / "half.pt")
    with (
        ready(tmp_path, *SOURCE) as fresh,
        ready(tmp_path, *SOURCE, f"weights={tmp_path}/half.pt") as prepared,
    ):
        initial, loaded = (run.parts.learner.model.state_dict() for run in (fresh, prepared))
    assert torch.equal(loaded["classifier.bias"], initial["classifier.bias"])
    assert not torch.equal(loaded["classifier.bias"], state["classifier.bias"])


@pytest.mark.parametrize(
    "content", [b"", b"hello world\n", b"a: 1\nb: 2\n", b'{"a": 1}', b"\x80\x02}q\x00.", b"PK\x03\x04"]
)
def test_a_file_that_holds_no_weights_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "notes.txt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"notes\.txt must be a whole file of tensors") as caught:
        built(tmp_path, f"weights={tmp_path}/notes.txt")
    assert len(str(caught.value).splitlines()) == 1


def test_a_checkpoint_cut_short_is_refused(tmp_path: Path, source: Ran) -> None:
    whole = source.directory.best_file.read_bytes()
    for size in (1, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.pt").write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="cut short"):
            built(tmp_path, f"weights={tmp_path}/cut.pt")


def test_a_run_without_weights_is_refused(tmp_path: Path, source: Ran) -> None:
    source.directory.best_file.unlink()
    assert load(source.directory.last_file)["model"]
    shutil.copytree(source.path, tmp_path / "empty", ignore=shutil.ignore_patterns("*.pt"))
    with pytest.raises(CheckpointError, match=r"holds neither best\.pt nor last\.pt"):
        built(tmp_path, f"weights={tmp_path}/empty")


NETWORKS = [
    ("model=lenet", "placement=pre"),
    ("model=lenet", "placement=post"),
    ("model=simple_cnn", "model.dropout=0", "placement=pre", "fused=true"),
    ("model=mlp", "model.hidden=[20,20]", "placement=pre", "head_norm=none"),
    *(
        ("model=resnet", "model.depth=8", "model.width=4", f"placement={placement}")
        for placement in ("pre", "post", "preact")
    ),
]


@pytest.mark.parametrize("network", NETWORKS, ids=" ".join)
@pytest.mark.parametrize("source_norm", ["custom", "builtin", "renorm"])
def test_a_batch_norms_run_goes_on_with_its_norms_frozen(
    train: Train, tmp_path: Path, network: tuple[str, ...], source_norm: str
) -> None:
    """A frozen network has biases that a batch norm's has not; with zeros for them it is the same."""
    words = (*network, "telemetry=none")
    trained = train(*words, f"norm={source_norm}", "epochs=1")
    weights = f"weights={trained.directory.last_file}"
    images = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits = []
    for norm in (source_norm, "frozen"):
        prepared = built(tmp_path, *words, f"norm={norm}", weights)
        model = prepared.parts.learner.model.double()
        logits.append(model.eval()(images))
    assert_close(logits[1], logits[0], rtol=1e-12, atol=1e-12)
    assert_close(model.train()(images), logits[0], rtol=1e-12, atol=1e-12)
    lacking = set(model.state_dict()) - set(trained.last["model"])
    told = [note for note in prepared.notes if "zeros stand there" in note]
    assert len(told) == bool(lacking)
    for name in lacking:
        assert not model.state_dict()[name].any(), name


def test_a_frozen_run_begins_where_the_batch_norms_run_ended(train: Train) -> None:
    trained = train("norm=custom", "epochs=2", "data.val_fraction=0.5")
    tuned = train("norm=frozen", f"weights={trained.path}", "steps=2", "data.val_fraction=0.5")
    assert tuned.rows[0]["loss/val"] == pytest.approx(trained.result["loss/val"], rel=1e-6)
    assert tuned.rows[0]["accuracy/val"] == trained.result["accuracy/val"]
    norms = [name for name in tuned.last["model"] if ".norm." in name]
    assert len(norms) == 16
    for name in norms:
        assert torch.equal(tuned.last["model"][name], trained.best["model"][name])
    bias = tuned.last["model"]["conv1.linear.bias"]
    assert bool((bias != 0).all()), "it learns like any other"


def built(tmp_path: Path, *words: str) -> Experiment:
    with ready(tmp_path, *words) as prepared:
        return prepared
