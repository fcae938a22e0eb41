"""`bnexp runs show`: what it says of runs in every state, on 80 columns, quickly."""

import itertools
import re
import subprocess
import sys

import pytest
from synthetic_runs import config, telling_rows, write_run

from bnexp import cli
from bnexp.protocols import Measurement

BLOCKS = set("▁▂▃▄▅▆▇█")


def show(*words):
    return cli.run(["runs", "show", *words])


def shown(capsys, *words):
    """Return what is printed: whole lines of at most 80 columns without control characters."""
    capsys.readouterr()
    assert show(*words) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", printed.out)
    assert max(map(len, printed.out.splitlines())) <= 80
    return printed.out


def row(text, start):
    """Return the cells of the first row that starts so."""
    line = next(line for line in text.splitlines() if line.startswith(f"│ {start}"))
    return line.strip("│ ").split()


def test_a_finished_run_shows_curves_histograms_and_gaps(trained, folder, capsys):
    text = shown(capsys, "custom", "--runs-dir", str(trained))
    assert "finished at step 60" in text and "norm=custom" in text and "accuracy 0." in text
    _, curve, low, high, last = row(text, "loss/train")
    assert set(curve) <= BLOCKS and curve[0] == "█" and float(low) <= float(last) < float(high)
    assert "histograms at step 60" in text
    for layer in ("conv1", "conv2", "dense1", "dense2"):
        assert f"│ {layer}" in text
    assert len(re.findall(r" (close|catching up|stale) ", text)) == 4
    assert "not finite" not in text


def test_the_last_histogram_is_shown_with_its_percentiles(folder, capsys):
    rows = telling_rows("custom", steps=50)
    write_run(folder / "known", rows, config=config())
    text = shown(capsys, "known")
    # after the norm values are standard normal: 99 % within 2.58, 15 % and 85 % at 1.04, to within a bucket
    place, low, picture, high, *percentiles = row(text.partition("│ conv1")[2], "      ")
    assert place == "out" and float(low) == -float(high) and float(high) == pytest.approx(2.58, abs=0.4)
    assert [float(number) for number in percentiles] == pytest.approx([-1.04, 0, 1.04], abs=0.15)
    assert len(picture) == 18 and picture[0] == picture[-1] == "▁" and "█" in picture[7:11]


def test_gaps_are_shown_with_their_last_value(folder, capsys):
    rows = telling_rows("custom", steps=200)
    write_run(folder / "known", rows, config=config())
    cells = row(shown(capsys, "known").partition("gap of means")[2], "conv1")
    last = rows[200].scalars
    assert float(cells[2]) == pytest.approx(last["running_gap/conv1.norm/mean"], rel=1e-2)
    assert float(cells[4]) == pytest.approx(last["running_gap/conv1.norm/var"], rel=1e-2)
    assert " ".join(cells[5:]) == "catching up"


def test_a_diverged_run_says_where(trained, folder, capsys):
    text = " ".join(shown(capsys, "diverged", "--runs-dir", str(trained)).replace("│", "").split())
    assert "status diverged" in text
    assert re.search(r"the first to stop being finite was the \w+ of .* at step \d+", text)


def test_values_that_are_not_finite_are_counted(folder, capsys):
    rows = {
        step: Measurement({"nonfinite/conv1.norm": float(count), "nonfinite/conv2.norm": 0.0})
        for step, count in ((0, 0), (10, 12), (20, 3456))
    }
    write_run(folder / "nan", rows, config=config())
    text = shown(capsys, "nan")
    assert row(text.partition("not finite")[2], "conv1") == ["conv1.norm", "3,456", "10"]
    assert "conv2" not in text


def test_a_run_that_stopped_half_way_is_interrupted(folder, capsys):
    write_run(folder / "half", telling_rows("none", steps=30), config=config("none"))
    assert "interrupted at step 30" in shown(capsys, "half")


def test_a_run_in_progress_is_running(folder, capsys):
    run = write_run(folder / "now", telling_rows("none", steps=30), config=config("none"))
    with run.lock():
        run.metrics_file.write_bytes(run.metrics_file.read_bytes()[:-40])
        assert "running at step 20" in shown(capsys, "now")


def test_a_run_that_has_just_begun_is_shown(folder, capsys):
    run = write_run(folder / "new", {0: Measurement()}, config=config())
    run.metrics_file.unlink()
    assert "at step 0" in shown(capsys, "new")


def test_a_failed_run_shows_its_error(folder, capsys):
    details = {"status": "failed", "error": "RuntimeError: [boom]"}
    write_run(folder / "failed", {0: Measurement()}, config=config(), result=details)
    text = shown(capsys, "failed")
    assert "failed at step 0" in text and "RuntimeError: [boom]" in text


def test_many_layers_are_thinned_out_or_picked(folder, capsys):
    layers = [f"stage{index}.0.shortcut_with_a_long_name" for index in range(20)]
    write_run(folder / "deep", telling_rows("custom", steps=50, layers=layers), config=config())
    text = shown(capsys, "deep")
    assert "8 of 20 layers are shown" in text and "~ut_with_a_long_name"[-16:] in text
    text = shown(capsys, "deep", "--layers", "stage3")
    assert "of 20 layers" not in text


def test_ascii_output_draws_without_blocks(folder):
    write_run(folder / "known", telling_rows("custom", steps=50), config=config())
    code = "from bnexp.cli import main; main(['runs', 'show', 'known'])"
    environment = {"PYTHONIOENCODING": "ascii", "COLUMNS": "80", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    assert done.stdout.isascii() and b"@" in done.stdout


def test_a_look_imports_neither_torch_nor_matplotlib(folder):
    write_run(folder / "known", telling_rows("custom", steps=50), config=config())
    code = """
import sys
from bnexp.cli import run
run(["runs", "show", "known"])
print({"torch", "matplotlib", "tensorflow"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    "damage, told",
    [
        (lambda run: run.config_file.unlink(), "no run 'damaged'"),
        (lambda run: run.config_file.write_text("norm: ["), "config.yaml cannot be read"),
        (lambda run: run.result_file.write_text("{}"), "result.json must hold"),
        (lambda run: run.metrics_file.write_text("{}\n{}\n"), "metrics.jsonl line 1 must be a row"),
    ],
)
def test_a_broken_run_is_one_line(damage, told, folder, capsys):
    run = write_run(folder / "damaged", {0: Measurement({"loss/train": 1.0})}, config=config())
    damage(run)
    assert show("damaged") == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1 and told in printed.err


def test_running_statistics_are_told_step_by_step(tmp_path, folder, capsys):
    """Where all steps are logged, a row follows from the one before: running + momentum (batch - running)."""
    run = tmp_path / "traced"
    words = ("telemetry=full", "steps=5", "momentum=0.25", "norm.running_var=biased", "data.train_size=100")
    assert cli.run(["train", *words, "threads=1", f"output_dir='{run}'"]) == 0
    text = shown(capsys, str(run), "--what", "running_stats", "--layers", "conv2")
    header, *rows = [line.split() for line in text.splitlines()]
    assert " ".join(header) == "layer channel step running mean batch mean running var batch var"
    assert [row[:3] for row in rows] == [["conv2", str(c), str(step)] for c in range(3) for step in range(6)]
    numbers = [[float(cell) for cell in row[3:]] for row in rows]
    for before, after in itertools.pairwise(numbers[:6]):
        assert after[0] == pytest.approx(0.75 * before[0] + 0.25 * before[1], abs=2e-4)
        assert after[2] == pytest.approx(0.75 * before[2] + 0.25 * before[3], abs=2e-4)
    assert "validation accuracy by running " in shown(capsys, str(run))


def test_a_run_without_traces_says_what_they_need(trained, folder, capsys):
    capsys.readouterr()
    assert cli.run(["runs", "show", "none", "--runs-dir", str(trained), "--what", "running_stats"]) == 2
    assert "--what running_stats needs traced channels" in capsys.readouterr().err
    assert cli.run(["runs", "show", "none", "--runs-dir", str(trained), "--what", "running"]) == 2
    assert "did you mean running_stats?" in capsys.readouterr().err
