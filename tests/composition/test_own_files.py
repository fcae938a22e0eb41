"""Mistakes in a user's own YAML files are one line that says what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnexp.composition.compose import compose
from bnexp.errors import ConfigError

HEAD = "# @package _global_\n"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "bnexp_conf" / "experiment"
    folder.mkdir(parents=True)
    return folder


def problems(*words: str) -> list[str]:
    try:
        return list(compose(words, []).problems)
    except ConfigError as error:
        return error.problems


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("batch_size: 8\n", "must begin with the line `# @package _global_`: without it, it sets nothing"),
        ("", "says nothing: a preset is `# @package _global_` and lines like `batch_size: 8`"),
        (HEAD, "says nothing"),
        (f"{HEAD}defaults:\n  - /model: mlp\n", "write `- override /model: mlp` for `- /model: mlp`"),
        (f"{HEAD}defaults:\n  - model: mlp\n", "write `- override /model: mlp` for `- model: mlp`"),
        (f"{HEAD}defaults:\n  - override model: mlp\n", "write `- override /model: mlp` for"),
        (f"{HEAD}defaults:\n  - override /head_norm: none\n", "write `- override /norm@head_norm: none` for"),
        (f"{HEAD}seed: 010\n", "line 2: YAML reads 010 as 8; write plain decimals"),
        (f"{HEAD}seed: 0x10\n", "line 2: YAML reads 0x10 as 16; write plain decimals"),
        (f"{HEAD}model:\n  hidden: [1:30]\n", "line 3: YAML reads 1:30 as 90; write plain decimals"),
        ("\ufeff" + HEAD + "seed: 1\n", "begins with a byte order mark: save it as UTF-8 without one"),
        ((HEAD + "seed: 1\n").encode("utf-16"), "begins with a byte order mark"),
        ((HEAD + "# größer\nseed: 1\n").encode("latin-1"), "must be UTF-8 text"),
    ],
)
def test_a_preset_that_is_none_is_told_in_one_line(own: Path, content: str | bytes, said: str) -> None:
    (own / "mine.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    (line,) = problems("experiment=mine")
    assert line.startswith("bnexp_conf/experiment/mine.yaml") and said in line


def test_a_file_with_another_ending_is_told_of(own: Path) -> None:
    (own / "mine.yml").write_text(f"{HEAD}seed: 1\n")
    assert problems("experiment=mine") == [
        "bnexp_conf/experiment/mine.yml: Hydra reads .yaml only; name it mine.yaml"
    ]


def test_what_is_right_is_let_be_and_a_mistake_elsewhere_too(own: Path) -> None:
    (own / "wrong.yaml").write_text("seed: 010\n")
    (own / "mine.yaml").write_text(f"{HEAD}defaults:\n  - override /model: mlp\nseed: 10\nruns_dir: ~/x\n")
    assert problems("experiment=mine") == []
    config = compose(["experiment=mine"], []).config
    assert (config.seed, config.choices["model"]) == (10, "mlp")
    assert config.runs_dir == str(Path("~/x").expanduser())


def test_a_norm_of_ones_own_is_looked_at_too(own: Path) -> None:
    norms = own.parent / "norm"
    norms.mkdir()
    (norms / "mine.yaml").write_text("")
    (line,) = problems("norm=mine")
    assert line.startswith("bnexp_conf/norm/mine.yaml says nothing: a choice names what is built")
