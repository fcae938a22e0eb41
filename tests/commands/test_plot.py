"""`bnexp plot` on real runs, and every mistake in one line."""

import pytest
from synthetic_runs import config, write_run

from bnexp import cli
from bnexp.figures.catalog import IN_RUNS
from bnexp.protocols import Measurement


def plot(*words):
    return cli.run(["plot", *words])


@pytest.mark.parametrize("what", IN_RUNS)
def test_real_runs_are_drawn(what, trained, folder, capsys):
    capsys.readouterr()
    assert plot("custom", "none", "--what", what, "--runs-dir", str(trained)) == 0
    *notes, path = capsys.readouterr().out.splitlines()
    assert path == f"{what}.png" and (folder / path).stat().st_size > 20_000
    left_out = [
        note for note in notes if note.startswith('note: run "no norm" left out: running_stats needs')
    ]
    assert len(notes) == len(left_out) == (1 if what == "running_stats" else 0)


def test_final_metrics_are_drawn_against_a_knob(trained, folder, capsys):
    """The one knob with several numbers is the axis if none is named; what is misspelt is one line."""
    root = str(trained)
    assert (
        plot("custom", "none", "diverged", "--what", "metric", "--x", "optimizer.lr", "--runs-dir", root) == 0
    )
    assert (folder / "metric.png").stat().st_size > 10_000
    capsys.readouterr()
    for words, said in (
        (
            ("--what", "metric", "--x", "optimizer.l"),
            "optimizer.l: no run has this key (did you mean optimizer.lr?)",
        ),
        (("--what", "metric", "--x", "norm"), "norm must have numbers to draw against"),
        (
            ("--what", "metric", "--x", "seed", "--y", "accuracy/tset"),
            "no such metric (did you mean accuracy/test?)",
        ),
        (("--what", "loss", "--x", "seed"), "--x, --y and --by belong to --what metric"),
    ):
        assert plot("custom", "none", *words, "--runs-dir", root) == 2
        assert said in capsys.readouterr().err


def test_loss_is_drawn_if_nothing_else_is_asked_for(trained, folder, capsys):
    assert plot(str(trained / "x" / "custom")) == 0
    assert capsys.readouterr().out == "loss.png\n"


def test_a_diverged_run_is_drawn_beside_others(trained, folder):
    for what in ("loss", "activations", "gradients", "percentiles"):
        assert plot("diverged", "custom", "--what", what, "--runs-dir", str(trained)) == 0


@pytest.mark.parametrize("ending", ["svg", "pdf", "png"])
def test_the_ending_is_the_format(ending, trained, folder):
    assert plot("custom", "-o", f"my picture.{ending}", "--runs-dir", str(trained)) == 0
    start = (folder / f"my picture.{ending}").read_bytes()[:8]
    assert start.startswith({"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}[ending])


def test_layers_are_picked_by_pattern(trained, folder, capsys):
    words = ["custom", "--what", "activations", "--runs-dir", str(trained)]
    assert plot(*words, "--layers", "conv*", "--layers", "dense2") == 0
    capsys.readouterr()
    assert plot(*words, "--layers", "cnv1") == 2
    assert "--layers must name one of the layers conv1, conv2, dense1, dense2; got 'cnv1'" in error(capsys)


def error(capsys):
    """Return the one line that was printed."""
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert printed.out == "" and line.startswith("bnexp: ")
    return line


def test_an_unknown_figure_is_told(trained, folder, capsys):
    assert plot("custom", "--what", "weights", "--runs-dir", str(trained)) == 2
    assert "must be one of loss, activations, gradients" in error(capsys)


def test_an_unknown_ending_is_told(trained, folder, capsys):
    assert plot("custom", "-o", "loss.gif", "--runs-dir", str(trained)) == 2
    assert "must end in .png, .svg or .pdf, got 'loss.gif'" in error(capsys)


def test_a_run_that_is_not_there_is_told(trained, folder, capsys):
    assert plot("costum", "--runs-dir", str(trained)) == 2
    assert "no run 'costum'" in error(capsys)
    assert plot("custom", "--runs-dir", "nowhere") == 2
    assert "holds no runs" in error(capsys)


def test_a_run_that_logged_nothing_is_told(folder, capsys):
    write_run(folder / "empty", {0: Measurement({"lr": 0.1})}, config=config())
    for what in IN_RUNS:
        assert plot("empty", "--what", what) == 2
        assert f"{what} needs" in error(capsys)


def test_a_damaged_row_is_told(folder, capsys):
    run = write_run(folder / "damaged", {0: Measurement({"loss/train": 1.0})}, config=config())
    run.metrics_file.write_text("{}\n" + run.metrics_file.read_text())
    assert plot("damaged") == 2
    assert "metrics.jsonl line 1 must be a row of metrics" in error(capsys)
