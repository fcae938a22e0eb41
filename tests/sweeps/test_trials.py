"""Trial files as people's programs write them are read, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnexp.errors import ConfigError
from bnexp.sweeps.trials import read_trials

WORDS = [["norm=custom", "batch_size=8", "optimizer.lr=0.05"], ["norm=none", "batch_size=16"]]


def read(folder: Path, content: str | bytes, name: str = "trials.csv") -> list[list[str]]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_trials(path)


@pytest.mark.parametrize(
    "content",
    [
        "norm,batch_size,optimizer.lr\ncustom,8,0.05\nnone,16,\n",
        "norm;batch_size;optimizer.lr\r\ncustom;8;0,05\r\nnone;16;\r\n",
        "norm\tbatch_size\toptimizer.lr\ncustom\t8\t0,05\nnone\t16\t\n",
        "norm | batch_size | optimizer.lr\ncustom | 8 | 0.05\nnone | 16 |\n",
        ",norm,batch_size,optimizer.lr\n0,custom,8,0.05\n1,none,16,\n",
        "Unnamed: 0,norm,batch_size,optimizer.lr\n0,custom,8.0,0.05\n1,none,16.0,\n",
        "norm,batch_size,optimizer.lr,,\ncustom,8,0.05,,\nnone,16,,,\n\n\n",
        "sep=;\r\nnorm;batch_size;optimizer.lr\r\ncustom;8;0,05\r\nnone;16;\r\n",
        '"norm","batch_size","optimizer.lr"\n"custom","8","0.05"\n"none","16",""\n',
        "norm, batch_size, optimizer.lr\ncustom, 8, 0.05\nnone, 16\n",
    ],
    ids=["plain", "German", "tabs", "bars", "pandas", "gaps", "empty columns", "Excel", "quoted", "spaces"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_tables_of_every_kind_are_read(tmp_path: Path, content: str, encoding: str) -> None:
    assert read(tmp_path, content.encode(encoding)) == WORDS


def test_an_old_windows_file_with_its_own_letters_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, "runs_dir,seed\nläufe,1\n".encode("cp1252")) == [["runs_dir=läufe", "seed=1"]]


@pytest.mark.parametrize(
    ("key", "cell", "word"),
    [
        ("batch_size", "8.0", "8"),
        ("norm.num_groups", "4.0", "4"),
        ("momentum", "1.0", "1.0"),
        ("optimizer.lr", "8.0", "8.0"),
        ("model.hidden", "[8,8]", "[8,8]"),
        ("batch_size", "8.5", "8.5"),
        ("optimizer.lr", "1e-3", "1e-3"),
    ],
)
def test_a_whole_number_loses_its_zeros_only_where_no_other_fits(
    tmp_path: Path, key: str, cell: str, word: str
) -> None:
    assert read(tmp_path, f'{key},seed\n"{cell}",1\n') == [[f"{key}={word}", "seed=1"]]


YAML = """
- {norm: custom, batch_size: 8, optimizer.lr: 1e-3}
- norm: none
  seed: 010
  runs_dir: "a, b"
  model.hidden: [8, 16]
  momentum: null
  data.augment: true
- ["seed=3", 'norm=group']
"""


def test_a_yaml_says_what_the_command_line_would(tmp_path: Path) -> None:
    """A number is passed on as it is written: 010 is then refused, not read as 8."""
    assert read(tmp_path, YAML, "trials.yaml") == [
        ["norm=custom", "batch_size=8", "optimizer.lr=1e-3"],
        [
            "norm=none",
            "seed=010",
            "runs_dir='a, b'",
            "model.hidden=[8,16]",
            "momentum=null",
            "data.augment=true",
        ],
        ["seed=3", "norm=group"],
    ]


def test_a_json_says_the_same(tmp_path: Path) -> None:
    text = '[{"norm": "custom", "optimizer.lr": 1e-3, "momentum": null}, ["seed=3"]]'
    assert read(tmp_path, text, "trials.json") == [
        ["norm=custom", "optimizer.lr=1e-3", "momentum=null"],
        ["seed=3"],
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "", "must list at least one trial"),
        ("t.csv", "norm,seed\n", "must list at least one trial"),
        ("t.csv", "norm\ncustom\n \n", ""),
        ("t.csv", "norm,seed\ncustom,1\n,\n", "row 2 is empty: it would train the defaults"),
        ("t.csv", "seed,seed\n1,2\n", "each key may head one column, got seed again"),
        ("t.csv", "norm,,seed\ncustom,x,1\n", "column 2 has no key above it"),
        ("t.csv", "norm,seed\ncustom,1,2\n", "row 1 has 3 cells, but the header has 2 keys"),
        ("t.csv", 'norm,seed\ncustom,"1,2"\n', "seed=1,2 lists several values"),
        ("t.csv", "norm;optimizer.lr\ncustom;1,000\n", "1,000 may mean 1000 or 1.000"),
        ("t.csv", 'norm,seed\n"custom,1\n', "cannot be read"),
        ("t.csv", b"norm,seed\ncus\0tom,1\n", "must be text"),
        ("t.yaml", "", "must list trials"),
        ("t.yaml", "norm: custom\n", "must list trials"),
        ("t.yaml", "- {}\n", "trial 1 must map keys to values"),
        ("t.yaml", "-\n", "line 1 has a key without a value"),
        ("t.yaml", "- seed:\n", "line 1 has a key without a value"),
        ("t.yaml", "- []\n", "trial 1 must map keys"),
        ("t.yaml", "- seed=1\n", "trial 1 must map keys"),
        ("t.yaml", "- seed: !!set {a: null}\n", "trial 1: a value must be one"),
        ("t.yaml", "- seed: &a [*a]\n", "trial 1: a value must be one"),
        ("t.yaml", "- seed: !!binary aGk=\n", "trial 1: a value must be one"),
        ("t.yaml", "- [*a]\n", "cannot be read"),
        ("t.yaml", "- {" * 3000, "cannot be read"),
        ("t.json", "[" * 10**5, "cannot be read"),
        ("t.json", '{"seed": 1}', "must list trials"),
        ("t.xlsx", "PK", "must be a .csv, .tsv, .txt, .yaml, .yml, .json file"),
    ],
)
def test_what_cannot_be_meant_is_one_line(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    if not said:
        assert read(tmp_path, content, name) == [["norm=custom"]]
        return
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, content, name)
    (line,) = raised.value.problems
    assert line.startswith(f"--trials {tmp_path / name}: {said}") or said in line


def test_no_file_and_a_folder_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name, said in (("no.csv", "there is no such file"), ("folder.csv", "must be a file")):
        with pytest.raises(ConfigError, match=said):
            read_trials(tmp_path / name)
