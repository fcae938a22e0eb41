"""What a real TensorBoard shows of runs that ended in all ways, with its fast and with its slow loader."""

import io
import re
from urllib.parse import parse_qsl

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard_server import SLOW, serving

from bnexp.protocols import Histogram, Measurement
from bnexp.telemetry.custom_scalars import layout
from bnexp.telemetry.event_file import EventFile
from bnexp.telemetry.hparams import end_session, session_start, take_back_end
from bnexp.telemetry.jsonl import MetricsFile
from bnexp.telemetry.pages import config_page, confusion_image, input_images
from bnexp.telemetry.run_writer import RunWriter

LAST, EVERY = 60, 10
LAYERS = ["conv1.norm", "conv2.norm"]
SCALARS = [
    *(f"{name}/{split}" for name in ("loss", "accuracy") for split in ("train", "val")),
    *(f"percentile/{layer}/{side}/{p}" for layer in LAYERS for side in ("in", "out") for p in (15, 50, 85)),
    *(f"running_gap/{layer}/{which}" for layer in LAYERS for which in ("mean", "var")),
    *(f"{buffer}/{layer}/channel_0" for buffer in ("running_mean", "running_var") for layer in LAYERS),
    "lr",
    "grad_norm",
]
HISTOGRAMS = [f"activation/{layer}/{side}" for layer in LAYERS for side in ("in", "out")]
OUTLIER = Histogram(
    limits=[-2.0, -1.0, 0.0, 1.0, 2.0],
    counts=[0.0, 3.0, 5.0, 0.0, 1.0],
    minimum=-1.5,
    maximum=1e30,
    total=1e30,
    sum_squares=1e60,
)
KNOBS = {
    "finished": {"norm": "custom", "batch_size": 8, "momentum": "0.1", "seed": 0, "data.augment": True},
    "diverged": {"norm": "none", "batch_size": 64, "momentum": "0.1", "seed": 1, "data.augment": False},
    "interrupted": {"norm": "group", "batch_size": 16, "momentum": "none", "seed": 0, "data.augment": True},
    "failed": {"norm": "custom", "batch_size": 32, "momentum": "none", "seed": 0, "data.augment": True},
}
KNOBS["resumed"] = {**KNOBS["failed"], "seed": 2}
STATUS = {
    "finished": "STATUS_SUCCESS",
    "diverged": "STATUS_FAILURE",
    "interrupted": "STATUS_UNKNOWN",
    "failed": "STATUS_FAILURE",
    "resumed": "STATUS_SUCCESS",
}
IMAGES = torch.randint(0, 256, (10, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
MEAN, STD = (0.25,), (0.5,)
COUNTS = torch.tensor([[9, 1], [0, 5]])


def train(folder, knobs, status, *, first=0, last=LAST, resume=None):
    """Log as an experiment does: the front pages, rows and histograms every ten steps, the final pages."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("norm: custom\n")
    if resume is not None:
        take_back_end(folder)
    board = EventFile(folder, start=resume or 0)
    with RunWriter(MetricsFile(folder / "metrics.jsonl", resume), board) as writer:
        board.add(session_start(knobs), 0)
        board.add(layout(LAYERS, LAYERS), 0)
        board.add(config_page("bnexp train norm=custom", "norm: custom\nseed: 0\n"), 0)
        board.add(input_images((IMAGES / 255 - MEAN[0]) / STD[0], MEAN, STD), 0)
        for step in range(first, last + 1, EVERY):
            row = Measurement({tag: float(step) for tag in SCALARS}, {tag: OUTLIER for tag in HISTOGRAMS})
            writer.write(step, row, epoch=0.0, examples=step)
        if status == "finished":
            writer.write(
                LAST, Measurement({"accuracy/test": knobs["batch_size"] / 64}), epoch=0.0, examples=0
            )
            board.add(confusion_image(COUNTS, ["cat", "dog"]), LAST)
    end_session(folder, status)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for status in ("finished", "diverged", "interrupted", "failed"):
        train(root / "default" / status, KNOBS[status], status)
    train(root / "default" / "resumed", KNOBS["resumed"], "failed", last=40)
    train(root / "default" / "resumed", KNOBS["resumed"], "finished", first=20, resume=20)
    return root


@pytest.fixture(scope="module", params=["fast", "slow"])
def board(request, runs):
    environment = SLOW if request.param == "slow" else {}
    with serving("--runs-dir", str(runs), **environment) as server:
        server.wait_for({f"default/{name}" for name in KNOBS})
        yield server


def session(board, name):
    (found,) = [group for group in board.run_table() if group["name"] == f"default/{name}"]
    return found


def test_a_tag_has_one_kind_and_begins_at_step_0(board):
    scalars, histograms = board.get("scalars/tags"), board.get("histograms/tags")
    assert set(scalars["default/failed"]) == set(SCALARS)
    assert set(histograms["default/failed"]) == set(HISTOGRAMS)
    steps = list(range(0, LAST + 1, EVERY))
    assert [step for step, _ in board.scalars("default/failed", "loss/train")] == steps
    assert [step for step, _ in board.histograms("default/failed", HISTOGRAMS[0])] == steps


def test_a_resumed_run_shows_every_step_once(board):
    steps = list(range(0, LAST + 1, EVERY))
    for tag in SCALARS:
        assert board.scalars("default/resumed", tag) == [(step, float(step)) for step in steps]
    for tag in HISTOGRAMS:
        assert [step for step, _ in board.histograms("default/resumed", tag)] == steps
    assert len(board.get("text/text", run="default/resumed", tag="config")) == 1
    assert len(board.get("images/images", run="default/resumed", tag="images/train", sample=0)) == 1


@pytest.mark.parametrize("name", KNOBS)
def test_the_run_table_knows_how_each_run_ended(board, name):
    (run,) = session(board, name)["sessions"]
    assert run["status"] == STATUS[name]


@pytest.mark.parametrize("name", KNOBS)
def test_the_run_table_shows_the_knobs_as_they_were_given(board, name):
    assert session(board, name)["hparams"] == KNOBS[name]


def test_the_run_table_offers_all_values_of_all_runs_to_filter_by(board):
    columns = {c["name"]: c for c in board.post("hparams/experiment", experimentName="")["hparamInfos"]}
    assert set(columns["norm"]["domainDiscrete"]) == {"custom", "none", "group"}
    assert set(columns["momentum"]["domainDiscrete"]) == {"0.1", "none"}
    assert columns["batch_size"]["domainInterval"] == {"minValue": 8.0, "maxValue": 64.0}
    assert all(column["differs"] for column in columns.values())


def test_the_run_table_sorts_and_filters(board):
    by_size = board.run_table({"hparam": "batch_size", "order": "ORDER_DESC"})
    assert [row["hparams"]["batch_size"] for row in by_size] == [64, 32, 32, 16, 8]
    custom = board.run_table({"hparam": "norm", "filterDiscrete": ["custom"]})
    assert {row["name"] for row in custom} == {"default/finished", "default/failed", "default/resumed"}
    best = board.run_table({"metric": {"tag": "accuracy/test"}, "order": "ORDER_DESC"})
    assert best[0]["name"] == "default/resumed"


def test_the_run_table_has_the_final_metrics(board):
    metrics = {m["name"]["tag"]: m["value"] for m in session(board, "finished")["metricValues"]}
    assert (metrics["accuracy/test"], metrics["loss/val"]) == (0.125, LAST)


def charts(board):
    return [
        (category["title"], chart)
        for category in board.get("custom_scalars/layout")["category"]
        for chart in category["chart"]
    ]


def test_every_chart_of_the_layout_has_its_curves(board):
    found = []
    for _, chart in charts(board):
        if "margin" in chart:
            (band,) = chart["margin"]["series"]
            assert [re.sub(r"\d+$", "", tag) for tag in band.values()] == [band["value"][:-2]] * 3
            assert [band[end][-2:] for end in ("lower", "value", "upper")] == ["15", "50", "85"]
            patterns = [re.escape(tag) + "$" for tag in band.values()]
        else:
            patterns = chart["multiline"]["tag"]
        for pattern in patterns:
            answer = board.get("custom_scalars/scalars", run="default/finished", tag=pattern)
            assert answer["regex_valid"]
            found += answer["tag_to_events"]
    assert sorted(found) == sorted([*SCALARS, "accuracy/test"])


def test_runs_with_one_network_share_the_charts(board):
    titles = [(category, chart["title"]) for category, chart in charts(board)]
    assert len(titles) == len(set(titles))


def test_an_outlier_leaves_the_picture_and_the_counts_alone(board):
    for _, buckets in board.histograms("default/failed", HISTOGRAMS[0]):
        assert buckets == [[-1.5, -1.0, 3.0], [-1.0, 0.0, 5.0], [0.0, 1.0, 0.0], [1.0, 2.0, 1.0]]


def test_the_text_page_has_the_command_and_the_configuration(board):
    (page,) = board.get("text/text", run="default/finished", tag="config")
    assert page["step"] == 0
    assert "bnexp train norm=custom" in page["text"]
    assert "norm: custom\nseed: 0" in re.sub("<[^>]*>", "", page["text"])


def picture(board, run, tag):
    (entry,) = board.get("images/images", run=run, tag=tag, sample=0)
    content = board.bytes("images/individualImage", **dict(parse_qsl(entry["query"])))
    pixels = torch.from_numpy(np.array(Image.open(io.BytesIO(content)).convert("RGB"))).permute(2, 0, 1)
    return entry["step"], pixels


def test_the_inputs_look_as_they_did_before_normalization(board):
    step, pixels = picture(board, "default/finished", "images/train")
    assert step == 0
    factor = pixels.shape[2] // (8 * 30 + 2)
    small = pixels[:, ::factor, ::factor]
    for place, image in enumerate(IMAGES):
        top, left = (2 + 30 * (place // 8), 2 + 30 * (place % 8))
        shown = small[:, top : top + 28, left : left + 28]
        assert torch.equal(shown, image.expand(3, -1, -1))


def test_the_confusion_matrix_stands_at_the_end(board):
    step, pixels = picture(board, "default/finished", "confusion/test")
    assert step == LAST
    assert min(pixels.shape[1:]) >= 300
