"""Real runs of `bnexp train`, as a real TensorBoard shows them: every tag of the table, from step 0."""

import json

import pytest
import torch
from tensorboard_server import serving

from bnexp.cli import run

STEPS = 12
LENET = ["conv1.norm", "conv2.norm", "dense1.norm", "dense2.norm"]
WORDS = {
    "lenet": ["norm=custom"],
    "resnet": ["model=resnet", "model.depth=8", "norm=builtin"],
    "no norm": ["norm=none"],
    "no telemetry": ["telemetry=none"],
    "too fast": ["norm=none", "activation=relu", "optimizer.lr=100", "telemetry=full"],
}
QUICK = ["threads=1", f"steps={STEPS}", "data.train_size=100", "eval_batch_size=1000"]
METRICS = {
    *(f"{name}/train" for name in ("loss", "accuracy")),
    *(
        f"{name}/{split}"
        for name in ("loss", "accuracy", "top5", "nll", "brier", "ece")
        for split in ("val", "test", "test_last")
    ),
}
ALWAYS = {tag for tag in METRICS if not tag.endswith("train")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for name, words in WORDS.items():
        assert run(["train", *words, *QUICK, f"output_dir={root / 'real' / name}"]) == 0
    return root


@pytest.fixture(scope="module")
def board(runs):
    with serving("--runs-dir", str(runs)) as server:
        server.wait_for({f"real/{name}" for name in WORDS})
        yield server


def expected(folder):
    """Return the scalars and histograms of the table, from the weights that the run left."""
    weights = torch.load(folder / "best.pt", weights_only=True)["model"]
    tracking = [name.removesuffix(".running_mean") for name in weights if name.endswith(".running_mean")]
    buffers = (".running_mean", ".running_var", ".num_batches_tracked")
    parameters = [name for name in weights if not name.endswith(buffers)]
    places = LENET if "conv1.linear.weight" in weights else tracking
    sides = [f"{place}/{side}" for place in places for side in ("in", "out")]
    scalars = METRICS | {"lr", "grad_norm", "examples_per_second"}
    scalars |= {f"percentile/{side}/{p}" for side in sides for p in (15, 50, 85)}
    scalars |= {f"nonfinite/{name}" for name in (*places, *parameters)}
    scalars |= {f"running_gap/{layer}/{which}" for layer in tracking for which in ("mean", "var")}
    summary = ("mean", "min", "max", "channel_0", "channel_1", "channel_2")
    statistics = [f"{buffer}/{layer}" for layer in tracking for buffer in ("running_mean", "running_var")]
    of_batch = [f"{quantity}/{layer}" for layer in tracking for quantity in ("batch_mean", "batch_var")]
    scalars |= {f"{tag}/{which}" for tag in (*statistics, *of_batch) for which in summary}
    histograms = {f"activation/{side}" for side in sides} | {f"gradient/{name}" for name in parameters}
    return scalars, histograms | set(statistics)


@pytest.mark.parametrize("name", ["lenet", "resnet", "no norm"])
def test_every_tag_of_the_table_is_there_with_its_kind(board, runs, name):
    scalars, histograms = expected(runs / "real" / name)
    assert set(board.get("scalars/tags")[f"real/{name}"]) == scalars
    assert set(board.get("histograms/tags")[f"real/{name}"]) == histograms


@pytest.mark.parametrize("name", ["lenet", "resnet", "no norm"])
def test_every_tag_begins_at_step_0(board, name):
    for plugin in ("scalars", "histograms"):
        tags = board.get(f"{plugin}/tags")[f"real/{name}"]
        first = {tag: steps[0] for tag, steps in board.steps(plugin, f"real/{name}", list(tags)).items()}
        assert first == {tag: STEPS if "/test" in tag else 0 for tag in tags}


def test_without_telemetry_there_are_the_evaluations_and_the_knobs(board):
    assert set(board.get("scalars/tags")["real/no telemetry"]) == ALWAYS
    for kind in ("histograms", "images", "text"):
        assert not board.get(f"{kind}/tags").get("real/no telemetry")
    assert "real/no telemetry" in {row["name"] for row in board.run_table()}


@pytest.mark.parametrize("name", WORDS)
def test_the_run_table_agrees_with_the_result(board, runs, name):
    result = json.loads((runs / "real" / name / "result.json").read_text())
    (row,) = [row for row in board.run_table() if row["name"] == f"real/{name}"]
    status = "STATUS_FAILURE" if result["status"] == "diverged" else "STATUS_SUCCESS"
    assert row["sessions"][0]["status"] == status
    shown = {metric["name"]["tag"]: metric["value"] for metric in row["metricValues"]}
    for tag in ("accuracy/test", "loss/test"):
        assert shown[tag] == pytest.approx(result[tag], rel=1e-6)


def test_a_run_that_diverges_shows_where(board, runs):
    result = json.loads((runs / "real" / "too fast" / "result.json").read_text())
    assert result["status"] == "diverged"
    last = board.scalars("real/too fast", "loss/train")[-1][0]
    assert last == result["diverged"]["first_step"] - 1


def test_every_band_of_the_layout_has_its_curves(board):
    tags = {tag for found in board.get("scalars/tags").values() for tag in found}
    charts = [chart for part in board.get("custom_scalars/layout")["category"] for chart in part["chart"]]
    bands = {tag for chart in charts if "margin" in chart for tag in chart["margin"]["series"][0].values()}
    assert bands == {tag for tag in tags if tag.startswith("percentile/")}
