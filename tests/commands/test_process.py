"""The installed command in processes of its own: any folder, quick help, the argparse of Python 3.14."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

QUICK = ("threads=1", "steps=2", "data.train_size=100")
COMMAND = str(Path(sys.executable).with_name("bnexp"))
HEAVY = (
    "torch",
    "torchvision",
    "numpy",
    "hydra",
    "omegaconf",
    "rich",
    "matplotlib",
    "tensorboard",
    "tqdm",
    "yaml",
)

# Python 3.14 looks into the help of every argument as soon as it is added.
ARGPARSE_OF_314 = """
import argparse
plain = argparse._ActionsContainer.add_argument
def add_argument(self, *names, **options):
    action = plain(self, *names, **options)
    "%" in (action.help or "")
    return action
argparse._ActionsContainer.add_argument = add_argument
"""


def process(*command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=environment)


def test_the_command_works_from_any_folder_with_what_is_there_and_writes_only_there(tmp_path: Path) -> None:
    folder = tmp_path / "somewhere else, é"
    norms = folder / "bnexp_conf" / "norm"
    norms.mkdir(parents=True)
    (norms / "mine.yaml").write_text("# Mine.\n_target_: mynorms.mine\n_partial_: true\n")
    (folder / "mynorms.py").write_text(
        "from torch.nn import Identity\n\ndef mine(features, spatial):\n    return Identity()\n"
    )
    before = {path.name for path in folder.iterdir()}
    done = process(COMMAND, "train", "--plugin", "mynorms", "norm=mine", *QUICK, folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in folder.iterdir()} - before - {"__pycache__"} == {"runs"}
    (run,) = (folder / "runs" / "default").iterdir()
    assert run.name.startswith("mine-")
    assert done.stdout.splitlines()[-1] == f"read it as one page: bnexp report runs/default/{run.name}"


def test_a_mistake_is_one_line_and_code_two_in_a_process_of_its_own(tmp_path: Path) -> None:
    done = process(COMMAND, "train", "norm=nope", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("bnexp: norm=nope: must be one of")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_does_not_end_the_run(tmp_path: Path) -> None:
    """As in `bnexp train | head -1`."""
    words = ("train", *QUICK, "output_dir=run")
    with subprocess.Popen(
        [COMMAND, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout is not None and run.stderr is not None
        assert run.stdout.readline()
        run.stdout.close()
        said = run.stderr.read()
    assert (run.returncode, said) == (0, b"")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "finished"


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = f"""
import sys
from bnexp.cli import run
assert run(["--help"]) == 0
print(sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    done = process(sys.executable, "-c", code, folder=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_imports_its_own_library_alone(tmp_path: Path) -> None:
    code = """
import sys
bare = set(sys.modules)
from bnexp.cli import run
assert run(["--help"]) == 0
loaded = {name.partition(".")[0] for name in set(sys.modules) - bare}
print(sorted(loaded - sys.stdlib_module_names))
"""
    done = process(sys.executable, "-c", code, folder=tmp_path)
    assert set(ast.literal_eval(done.stdout.splitlines()[-1])) <= {
        "bnexp",
        "typer",
        "annotated_doc",
        "shellingham",
    }


@pytest.mark.parametrize("words", [("--help",), ("runs", "--help")])
def test_help_cuts_no_description(words: tuple[str, ...], tmp_path: Path) -> None:
    lines = process(COMMAND, *words, folder=tmp_path, COLUMNS="80").stdout.splitlines()
    verbs = lines[lines.index("Commands:") + 1 :]
    assert len(verbs) > 2 and not [line for line in verbs if line.endswith("...")]
    assert max(map(len, lines)) <= 80


def test_bnexp_works_where_hydras_own_parser_crashes(tmp_path: Path) -> None:
    code = f"""
{ARGPARSE_OF_314}
from hydra._internal.utils import get_args_parser
try:
    get_args_parser()
except TypeError as error:
    print("hydra:", error)
from bnexp.cli import run
print("codes:", [run(["train", *{QUICK!r}, *words]) for words in ([], ["--cfg", "job"], ["-m", "seed=0,1"])])
"""
    done = process(sys.executable, "-c", code, folder=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("hydra: argument of type 'LazyCompletionHelp'")
    assert lines[-1] == "codes: [0, 0, 0]", done.stderr
    assert len(list(tmp_path.glob("runs/default/*/result.json"))) == 3
