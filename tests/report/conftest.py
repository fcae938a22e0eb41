"""Synthetic runs of two norms, two batch sizes and two seeds; one diverged, one is not finished."""

import json

import pytest
from reported import finished, report
from synthetic_runs import telling_rows


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """The folder of runs."""
    root = tmp_path_factory.mktemp("runs")
    for norm, good in (("custom", 0.9), ("none", 0.2)):
        for batch_size in (8, 64):
            for seed in (0, 1):
                accuracy = good + 0.01 * seed + 0.0005 * batch_size
                name = f"{norm}-{batch_size}-{seed}"
                finished(root, name, norm, batch_size=batch_size, seed=seed, accuracy=accuracy)
    where = {"first_step": 60, "last_step": 60, "origin": "the output of conv1.linear at step 60"}
    rows = {step: row for step, row in telling_rows("none", 2).items() if step <= 60}
    ended = {"status": "diverged", "diverged": where, "step": 60}
    finished(root, "lost", "none", seed=2, accuracy=0.1, rows=rows, **ended)
    finished(root, "stopped", "custom", seed=2, status="interrupted")
    return root


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def made(root, tmp_path_factory):
    """The files of one report over all runs: HTML, Markdown and data, and the folder."""
    folder = tmp_path_factory.mktemp("made")
    assert report("-o", str(folder / "all.html"), "--baseline", "norm=none", root=root) == 0
    html, text = ((folder / f"all.{ending}").read_text() for ending in ("html", "md"))
    return html, text, json.loads((folder / "all.json").read_text()), folder
