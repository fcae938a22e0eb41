"""Number formats, memory formats, compilation, threads, determinism: each trains, each leaves no trace."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from whole_runs import Train, assert_same, ready


@pytest.mark.parametrize(
    ("norm", "precision"),
    [("custom", "bfloat16"), ("custom", "float16"), ("builtin", "bfloat16"), ("group", "float16")],
)
def test_low_precision_follows_float32(train: Train, settled: Train, precision: str, norm: str) -> None:
    """The first losses agree to the format's rounding: 2^-8 bfloat16, 2^-11 float16, ten layers deep."""
    words = (f"norm={norm}", "steps=8")
    low, full = train(*words, f"precision={precision}"), settled(*words)
    assert low.result["status"] == "finished"
    tolerance = {"bfloat16": 10 * 2**-8, "float16": 10 * 2**-11}[precision]
    assert low.column("loss/train") == pytest.approx(full.column("loss/train"), rel=tolerance)
    assert low.column("loss/train") != full.column("loss/train")
    assert low.column("grad_norm") == pytest.approx(full.column("grad_norm"), rel=2 * tolerance)
    assert {tensor.dtype for tensor in low.last["model"].values()} <= {torch.float32, torch.int64}


@pytest.mark.parametrize(
    "words", [(), ("model=resnet", "model.depth=8", "model.width=4"), ("model=simple_cnn",)]
)
def test_channels_last_changes_rounding_only(train: Train, words: tuple[str, ...]) -> None:
    """Sums in another order: losses of 8 steps agree to rtol 1e-4."""
    plain, last = train(*words, "steps=8"), train(*words, "steps=8", "channels_last=true")
    assert last.column("loss/train") == pytest.approx(plain.column("loss/train"), rel=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # torch's tracer itself
def test_compiled_training_follows_eager_training(train: Train) -> None:
    """Both by the same arithmetic of norm=custom: four steps amplify the rounding of another to 1e-4."""
    if shutil.which("c++") is None and shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler, there is none")
    words = ("model=classifier", "model.widths=[4]", "norm=custom", "norm.core=eager", "data.val_fraction=0")
    short = (*words, "steps=4", "telemetry=none", "telemetry.scalars_every=1")
    eager, compiled = train(*short), train(*short, "compile=true")
    assert compiled.column("loss/train") == pytest.approx(eager.column("loss/train"), rel=1e-5)
    assert compiled.last["model"].keys() == eager.last["model"].keys()


def test_determinism_and_threads_last_as_long_as_the_run(
    train: Train, settled: Train, tmp_path: Path
) -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    assert before == (1, False)
    with ready(tmp_path, "threads=2", "deterministic=true") as prepared:
        assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == (2, True)
        assert prepared.state.threads == 2
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
    with pytest.raises(ZeroDivisionError), ready(tmp_path, "threads=2", "deterministic=true"):
        raise ZeroDivisionError
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before
    assert_same(train("deterministic=true").last["model"], settled().last["model"])


def test_threads_are_recorded(train: Train) -> None:
    ran = train("steps=1")
    assert ran.result["threads"] == ran.last["state"]["threads"] == 1
