"""Same seed, same bits; other seed, other bits; who watches changes nothing."""

from __future__ import annotations

import pytest
import torch
from whole_runs import Train, assert_same, assert_same_run, own

MODELS = {
    "lenet": (),
    "resnet": ("model.depth=8", "model.width=4"),
    "mlp": ("model.hidden=[20,10]",),
    "simple_cnn": (),
    "classifier": ("model.widths=[4,8]",),
}


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("model=simple_cnn",),
        ("data.augment=true",),
        ("optimizer=adam", "accumulate=2"),
        ("precision=bfloat16", "model=simple_cnn"),
        ("precision=float16",),
        ("channels_last=true", "model=resnet", "model.depth=8", "model.width=4"),
    ],
    ids=" ".join,
)
def test_one_config_gives_one_run_bit_for_bit(train: Train, settled: Train, words: tuple[str, ...]) -> None:
    first, second = settled(*words), train(*words)
    assert first.path != second.path
    assert_same_run(second, first)


def test_another_seed_gives_other_weights_and_another_order(train: Train) -> None:
    first, second = train("steps=1"), train("steps=1", "seed=1")
    assert first.column("loss/train") != second.column("loss/train")
    assert not torch.equal(
        first.last["model"]["classifier.weight"], second.last["model"]["classifier.weight"]
    )


@pytest.mark.parametrize("model", MODELS)
def test_a_change_of_norm_leaves_the_shared_initial_weights(train: Train, model: str) -> None:
    """With lr=0 the saved weights are the initial ones."""
    words = (f"model={model}", *MODELS[model], "optimizer.lr=0", "steps=1", "telemetry=none")
    reference = train(*words, "norm=none", "head_norm=none").last["model"]
    for norm in ("custom", "builtin", "group"):
        other = train(*words, f"norm={norm}", f"head_norm={norm}").last["model"]
        shared = [name for name in other if name in reference]
        weights = [name for name in reference if name.endswith("linear.weight")]
        assert {*weights, "classifier.weight", "classifier.bias"} <= set(shared)
        assert any(".norm." in name for name in other)
        assert_same({name: other[name] for name in shared}, {name: reference[name] for name in shared}, norm)


def test_a_change_of_norm_leaves_the_data_order(train: Train) -> None:
    """A network that sees nothing but the classes' frequencies has a loss that tells the batches apart."""
    words = ("optimizer.lr=0", "init=zeros", "batch_size=7", "epochs=2")
    losses = [train(*words, f"norm={norm}").column("accuracy/train") for norm in ("none", "custom", "group")]
    assert len(set(losses[0])) > 1
    assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize(
    "words",
    [
        ("norm=custom",),
        ("norm=builtin", "model=simple_cnn", "accumulate=2"),
        ("norm=custom", "precision=float16"),
        ("norm=none", "optimizer=adam"),
        ("norm=builtin", "channels_last=true", "momentum=null"),
    ],
    ids=" ".join,
)
def test_telemetry_leaves_the_weights_alone(train: Train, words: tuple[str, ...]) -> None:
    reference = train(*words, "epochs=2", "telemetry=none")
    for telemetry in ("default", "full"):
        watched = train(*words, "epochs=2", f"telemetry={telemetry}")
        assert "grad_norm" in watched.rows[0] and "grad_norm" not in reference.rows[0]
        for part in ("model", "optimizer", "scaler", "streams"):
            assert_same(watched.last[part], reference.last[part], f"{telemetry} {part}")
        assert_same(own(watched.best), own(reference.best), telemetry)
