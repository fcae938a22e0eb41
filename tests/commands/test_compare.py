"""`bnexp compare`: the table of known runs, its numbers for other programs, order, stars and notes."""

import csv
import io
import json
import re

import pytest
from scipy import stats
from synthetic_runs import OURS, config, leave_run

from bnexp import cli

ACCURACY = {
    ("custom", 8): (0.90, 0.92, 0.91),
    ("custom", 64): (0.96, 0.97, 0.98),
    ("none", 8): (0.80, 0.85, 0.81),
    ("none", 64): (0.94, 0.98),
}


@pytest.fixture
def runs(folder):
    """Four groups of two or three seeds, one run that failed, and one that was run twice."""
    root, clock = folder / "runs" / "default", iter(range(100))

    def leave(norm, batch_size, seed, **result):
        settings = config(norm, batch_size=batch_size, seed=seed)
        leave_run(
            root / f"{norm}-b{batch_size}-s{seed}_20260101-0000{next(clock):02}-abcd", settings, **result
        )

    leave("custom", 8, 0, accuracy_test=0.1, loss_test=9.0, seconds=9.0)  # and again below
    for (norm, batch_size), values in ACCURACY.items():
        for seed, value in enumerate(values):
            leave(
                norm, batch_size, seed, accuracy_test=value, loss_test=1 - value, seconds=1.0 + seed, step=10
            )
    leave("custom", 64, 7, status="failed", accuracy_test=0.5)
    return root


def compare(capsys, *words, code=0):
    capsys.readouterr()
    assert cli.run(["compare", *words]) == code
    return capsys.readouterr()


def rows(capsys, *words):
    found = json.loads(compare(capsys, *words, "--json").out)
    return {(row["choices"].get("norm"), row["choices"].get("batch_size")): row for row in found}


def test_the_table_has_choices_means_and_stars(runs, capsys):
    header, *lines = compare(capsys).out.splitlines()
    assert re.split(r"  +", header) == [
        "norm", "batch_size", "n", "test accuracy ± 95 %", "test loss ± 95 %", "seconds ± 95 %",
    ]  # fmt: skip
    cells = [re.split(r"  +", line.strip()) for line in lines[:4]]
    assert [row[:3] for row in cells] == [
        [OURS, "8", "3"],
        [OURS, "64", "3"],
        ["no norm", "8", "3"],
        ["no norm", "64", "2"],
    ]
    # std 0.01 over three: 4.3027 * 0.01 / sqrt(3) = 0.0248; over two: 12.7062 * 0.0283 / sqrt(2) = 0.2541
    accuracies = ["0.9100 ± 0.0248", "0.9700 ± 0.0248 *", "0.8200 ± 0.0657", "0.9600 ± 0.2541"]
    assert [row[3] for row in cells] == accuracies
    assert cells[3][5] == "1.5 ± 6.4 *" and cells[0][5] == "2.0 ± 2.5"
    assert lines[4].startswith("* the best mean; ± the 95 % interval")
    assert lines[5:] == ["1 failed left out", "1 left out that a newer run of the same configuration repeats"]


def test_the_numbers_are_those_of_scipy(runs, capsys):
    found = rows(capsys)
    assert set(found) == set(ACCURACY)
    for key, values in ACCURACY.items():
        row = found[key]["accuracy/test"]
        low, high = stats.t.interval(0.95, len(values) - 1, sum(values) / len(values), stats.sem(values))
        assert row["n"] == len(values) == found[key]["n"] == len(found[key]["runs"])
        assert [row["mean"] - row["half_width"], row["mean"] + row["half_width"]] == pytest.approx(
            [low, high], rel=1e-9
        )
    assert found["none", 8]["accuracy/test"]["best"] is False
    assert all("s0_20260101-000000" not in path for row in found.values() for path in row["runs"])


def test_differences_are_paired_by_seed_and_batch_size(runs, capsys):
    found = rows(capsys, "--baseline", "norm=none")
    for size in (8, 64):
        one, other = ACCURACY["custom", size], ACCURACY["none", size]
        n = min(len(one), len(other))
        known = stats.ttest_rel(one[:n], other[:n])
        row = found["custom", size]["difference"]["accuracy/test"]
        assert row["n"] == n and row["lost"] == 0 and row["p"] == pytest.approx(known.pvalue, rel=1e-6)
        assert row["mean"] == pytest.approx(sum(one[:n]) / n - sum(other[:n]) / n)
        assert found["none", size]["difference"]["accuracy/test"] is None
    text = compare(capsys, "--baseline", "norm=none").out
    assert re.search(r"batch norm \(ours\) +8 .* \+0\.0900 ± 0\.0430 \(n = 3, p = 0\.024\) ", text)
    raw = compare(capsys, "--baseline", "norm=none", "--uncorrected").out
    assert re.search(r"batch norm \(ours\) +8 .* \+0\.0900 ± 0\.0430 \(n = 3, p = 0\.012\) ", raw)
    assert "p of a paired t-test" in text


def test_a_baseline_of_two_keys_is_one_group_for_all(runs, capsys):
    found = rows(capsys, "--baseline", "norm=none", "--baseline", "batch_size=8")
    assert found["custom", 64]["difference"]["accuracy/test"]["mean"] == pytest.approx(0.15)
    assert found["none", 64]["difference"]["accuracy/test"]["n"] == 2
    assert found["none", 8]["difference"]["accuracy/test"] is None


@pytest.mark.parametrize(
    "words, order",
    [
        ([], ["custom 8", "custom 64", "none 8", "none 64"]),
        (["--max", "accuracy/test", "--top", "3"], ["custom 64", "none 64", "custom 8"]),
        (["--min", "accuracy/test", "--top", "1"], ["none 8"]),
        (["--max", "loss/test", "-n", "1"], ["none 8"]),
        (["--min", "seconds", "--top", "1"], ["none 64"]),
        (["--max", "step_time_ms", "batch_size=8", "--top", "2"], ["custom 8", "none 8"]),
    ],
)
def test_order_and_top(runs, capsys, words, order):
    found = json.loads(compare(capsys, *words, "--json").out)
    assert [f"{row['choices']['norm']} {row['choices'].get('batch_size', 8)}" for row in found] == order


def test_groups_without_the_metric_come_last(runs, capsys):
    leave_run(runs / "new", config(batch_size=16), status="diverged", accuracy_val=0.5)
    for order in ("--min", "--max"):
        last = json.loads(compare(capsys, order, "accuracy/test", "--json").out)[-1]
        assert last["choices"]["batch_size"] == 16 and last["accuracy/test"] is None and last["diverged"] == 1
    assert re.search(
        r"batch norm \(ours\) +16 +1 \(1 diverged\) +- +- +- *$",
        compare(capsys).out.replace("*", ""),
        re.MULTILINE,
    )


def test_group_by(runs, capsys):
    found = json.loads(compare(capsys, "--group-by", "norm", "--json").out)
    assert [(row["choices"], row["n"]) for row in found] == [({"norm": "custom"}, 6), ({"norm": "none"}, 5)]
    values = ACCURACY["none", 8] + ACCURACY["none", 64]
    assert found[1]["accuracy/test"]["std"] == pytest.approx(stats.tstd(values))
    both = json.loads(compare(capsys, "--group-by", "norm, seed", "--baseline", "norm=none", "--json").out)
    assert [one and one["n"] for one in (row["difference"]["accuracy/test"] for row in both)] == [
        2,
        2,
        1,
        None,
        None,
        None,
    ]


def test_runs_that_share_a_partner_are_one_pair(runs, capsys):
    """Two runs less one and the same third are no two independent differences."""
    words = ("--group-by", "norm", "--baseline", "norm=none", "--baseline", "batch_size=8", "--json")
    custom, none = (row["difference"]["accuracy/test"] for row in json.loads(compare(capsys, *words).out))
    means = [sum(pair) / 2 for pair in zip(ACCURACY["custom", 8], ACCURACY["custom", 64], strict=True)]
    expected = stats.ttest_rel(means, ACCURACY["none", 8])
    assert (custom["n"], none["n"]) == (3, 2)
    assert custom["p"] == pytest.approx(expected.pvalue)
    assert custom["mean"] == pytest.approx(sum(means) / 3 - sum(ACCURACY["none", 8]) / 3)


def test_rows_tell_what_else_they_average_over(runs, capsys):
    assert "rows average over batch_size too:" in compare(capsys, "--group-by", "norm").out
    assert "rows average over" not in compare(capsys, "--group-by", "norm,batch_size").out
    assert "rows average over" not in compare(capsys).out


def test_csv_is_flat_and_has_no_empty_columns_for_nodes(runs, capsys):
    text = compare(capsys, "--baseline", "norm=none", "--csv", "-").out
    found = list(csv.DictReader(io.StringIO(text)))
    estimates = ("n", "mean", "std", "half_width")
    assert list(found[0]) == [
        *("choices.norm", "choices.batch_size", "name", "n", "diverged"),
        *(
            f"{tag}.{key}"
            for tag in ("accuracy/test", "loss/test", "seconds")
            for key in (*estimates, "best")
        ),
        *(
            f"difference.{tag}.{key}"
            for tag in ("accuracy/test", "loss/test", "seconds")
            for key in (*estimates, "lost", "p", "p_holm")
        ),
        "runs",
    ]
    assert "difference" not in found[0]
    assert [row["difference.loss/test.n"] for row in found] == ["3", "2", "", ""]
    assert float(found[0]["accuracy/test.mean"]) == pytest.approx(0.91)


def test_one_run_alone(folder, capsys):
    leave_run(folder / "runs" / "x" / "one", config(), accuracy_test=0.5, loss_test=1.0, seconds=2.0)
    lines = compare(capsys).out.splitlines()
    assert re.split(r"  +", lines[1]) == ["batch norm (ours)", "1", "0.5000", "1.0000", "2.0"]
    with_metric = compare(capsys, "--metric", "accuracy/test", "--baseline", "norm=custom").out
    assert re.search(r"batch norm \(ours\) +1 +0\.5000 +-$", with_metric, re.MULTILINE)


def test_all_diverged(folder, capsys):
    for seed in (0, 1):
        leave_run(folder / "runs" / "x" / f"{seed}", config(seed=seed), status="diverged", seconds=0.1)
    assert re.search(r"batch norm \(ours\) +2 \(2 diverged\) +- +- +- *$", compare(capsys).out, re.MULTILINE)
    (row,) = json.loads(compare(capsys, "--json").out)
    assert row["diverged"] == row["n"] == 2 and row["accuracy/test"] is row["seconds"] is None


@pytest.mark.parametrize(
    "words, told",
    [
        (["--metric", "acuracy/test"], "no run has the metric 'acuracy/test' (did you mean accuracy/test?)"),
        (["--max", "lossy"], "no run has the metric 'lossy'"),
        (["--min", "seconds", "--max", "seconds"], "give --min or --max, not both"),
        (["--baseline", "builtin"], "--baseline takes KEY=VALUE, such as norm=builtin; got 'builtin'"),
        (["--baseline", "norm=group"], "none of the runs to be compared is one"),
        (["--baseline", "nrom=none"], "no run has 'nrom' (did you mean norm?)"),
        (["--group-by", "bath_size"], "--group-by bath_size: no run has this key (did you mean batch_size?)"),
        (["norm=group"], "no finished run norm=group; see `bnexp runs`"),
        (["norm=custm"], "no finished run norm=custm (did you mean custom?); see `bnexp runs`"),
        (["status=failed"], "no finished run status=failed (1 failed left out); see `bnexp runs`"),
        (["--runs-dir", "nowhere"], "no finished run under nowhere"),
    ],
)
def test_a_mistake_is_one_line(runs, capsys, words, told):
    printed = compare(capsys, *words, code=2)
    assert printed.out == "" and told in printed.err and len(printed.err.splitlines()) == 1


@pytest.mark.parametrize("columns", [40, 60])
def test_a_narrow_terminal_gets_a_line_a_number(runs, process, columns):
    text = process("compare", COLUMNS=str(columns), FORCE_COLOR="1")
    first = re.sub(r"\x1b\[[0-9;]*m", "", text).split("\n\n")[0].splitlines()
    assert [re.split(r"  +", line.strip()) for line in first] == [
        ["norm", OURS],
        ["batch_size", "8"],
        ["n", "3"],
        ["test accuracy ± 95 %", "0.9100 ± 0.0248"],
        ["test loss ± 95 %", "0.0900 ± 0.0248"],
        ["seconds ± 95 %", "2.0 ± 2.5"],
    ]
    assert "\x1b[1m0.9700 ± 0.0248 *\x1b[0m" in text
    lines = process("compare", "--group-by", "norm", COLUMNS=str(columns), FORCE_COLOR="1").splitlines()
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines[:5]]
    assert {re.search(r"  +", line).end() for line in plain} == {22}  # all values stand at the left of theirs
