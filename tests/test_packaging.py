"""The wheel holds everything and works from an unrelated folder, without the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKED = ("bnexp", "conf", "pyproject.toml", "README.md", "LICENSE")
WITHOUT_CHECKOUT = """
import sys
sys.path[:] = [path for path in sys.path if path != {root!r}]
from bnexp.cli import main
import bnexp
print(bnexp.__file__, file=sys.stderr)
main()
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, so that nothing is left in the checkout."""
    copy, built = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("built")
    for name in PACKED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(built), str(copy)]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the wheel cannot be built here: {done.stderr.strip().splitlines()[-1]}")
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel alone into a folder; everything else comes from this environment."""
    target = tmp_path_factory.mktemp("installed")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(target),
    ]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    return target


def run(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    code = WITHOUT_CHECKOUT.format(root=str(ROOT))
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_the_wheel_holds_every_yaml_and_every_file_of_the_package(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    yamls = {f"bnexp/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    files = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "bnexp").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert len(yamls) > 30
    assert {"bnexp/py.typed", "bnexp/data/digits.npz", "bnexp/data/digits.LICENSE"} <= files
    assert yamls | files <= held
    assert not [name for name in held if name.startswith(("tests", "runs", "scripts", "benchmarks", "conf"))]


def test_the_wheel_has_the_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (entries,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    assert "bnexp = bnexp.cli:main" in archive.read(entries).decode().splitlines()


def test_the_installed_package_trains_from_an_unrelated_folder(installed: Path, tmp_path: Path) -> None:
    done = run(
        installed,
        tmp_path,
        "train",
        "threads=1",
        "steps=2",
        "data.train_size=100",
        "experiment=simple_cnn",
        "data=digits",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == str(installed / "bnexp" / "__init__.py")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert len(list((tmp_path / "runs" / "simple_cnn").iterdir())) == 1


def test_the_installed_package_finds_a_users_own_choices(installed: Path, tmp_path: Path) -> None:
    norms = tmp_path / "bnexp_conf" / "norm"
    norms.mkdir(parents=True)
    (norms / "mine.yaml").write_text("# Mine.\n_target_: bnexp.norms.none.identity\n_partial_: true\n")
    done = run(installed, tmp_path, "train", "norm=mine", "--cfg", "job")
    assert done.returncode == 0, done.stderr
    assert "norm: mine\n" in done.stdout
    done = run(installed, tmp_path, "train", "norm=min")
    assert done.returncode == 2
    assert "did you mean mine?" in done.stderr
