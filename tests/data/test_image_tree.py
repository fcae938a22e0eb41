"""What belongs to a tree of images is listed, and everything else is counted and told in one line a kind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from bnexp.data.image_tree import ImageTree, image_tree
from bnexp.errors import DataError

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes; files are not looked into here."""
    for name in ("train/cat/a", "train/cat/b", "train/dog/a", "test/cat/a", "test/dog/a"):
        put(tmp_path / f"tree/{name}.png")
    return tmp_path / "tree"


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def names(tree: ImageTree, part: str = "train") -> dict[str, list[str]]:
    root = tree.root / part
    return {label: [str(p.relative_to(root)) for p in files] for label, files in tree.parts[part].items()}


def refused(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        image_tree(root)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


PLAIN = {"cat": ["cat/a.png", "cat/b.png"], "dog": ["dog/a.png"]}


def test_a_tidy_tree_needs_no_words(root: Path) -> None:
    tree = image_tree(root)
    assert names(tree) == PLAIN
    assert names(tree, "test") == {"cat": ["cat/a.png"], "dog": ["dog/a.png"]}
    assert tree.parts.keys() == {"train", "test"}
    assert (tree.notes, tree.warnings) == ([], [])


@pytest.mark.parametrize("name", ["a.PNG", "z.Jpg", "z.jfif", "z.JPEG", "z.bmp", "z.webp", "z.tif", "z.TIFF"])
def test_endings_have_no_case(root: Path, name: str) -> None:
    put(root / "train/dog" / name)
    tree = image_tree(root)
    assert f"dog/{name}" in names(tree)["dog"]
    assert (tree.notes, tree.warnings) == ([], [])


def test_other_endings_are_counted_by_kind(root: Path) -> None:
    for name in ("cat/1.heic", "cat/2.HEIC", "cat/labels.csv", "dog/3.heic", "dog/photo"):
        put(root / "train" / name)
    tree = image_tree(root)
    assert names(tree) == PLAIN
    (line,) = tree.warnings
    assert line.startswith(
        "left out: 5 files (3 .heic, 1 .csv, 1 without an ending), e.g. train/cat/1.heic; what is read: "
    )
    assert ".png" in line and ".jfif" in line
    assert tree.notes == []


CLUTTER = [
    "train/.DS_Store",
    "train/cat/.DS_Store",
    "train/cat/._a.png",
    "train/cat/Thumbs.db",
    "train/cat/desktop.ini",
    "train/cat/@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg",
    "train/@eaDir/cat/a.png",
    "train/cat/.ipynb_checkpoints/a-checkpoint.png",
    "train/#recycle/a.png",
    "__MACOSX/train/cat/._a.png",
    "lost+found/a.png",
    "System Volume Information/a.png",
    "$RECYCLE.BIN/a.png",
    "@Recycle/a.png",
    ".git/a.png",
    "train/cat/Icon\r",
]


@pytest.mark.parametrize("name", CLUTTER)
def test_what_systems_leave_behind_is_neither_class_nor_image(root: Path, name: str) -> None:
    put(root / name)
    tree = image_tree(root)
    assert names(tree) == PLAIN
    (line,) = tree.notes
    assert line.startswith("left out: 1 file or folder hidden or of an operating system, e.g. ")
    assert tree.warnings == []


def test_all_of_it_is_one_line(root: Path) -> None:
    for name in CLUTTER:
        put(root / name)
    (line,) = image_tree(root).notes
    assert (
        line
        == f"left out: {len(CLUTTER)} files or folders hidden or of an operating system, e.g. $RECYCLE.BIN"
    )


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_validation_folder_is_a_part_of_its_own(root: Path, name: str) -> None:
    put(root / name / "cat/v.png")
    put(root / name / "dog/v.png")
    tree = image_tree(root)
    assert [str(path.relative_to(root)) for path in tree.files[-2:]] == [
        f"{name}/cat/v.png",
        f"{name}/dog/v.png",
    ]
    assert list(tree.parts) == ["train", "test", "val"]
    assert (tree.notes, tree.warnings) == ([], [])


def test_a_validation_folder_may_lack_a_class_and_has_no_other(root: Path) -> None:
    put(root / "val/dog/v.png")
    (root / "val/cat").mkdir()
    tree = image_tree(root)
    assert [len(files) for files in tree.parts["val"].values()] == [0, 1]
    assert list(tree.parts["val"]) == ["cat", "dog"]
    put(root / "val/emu/v.png")
    assert refused(root).endswith(f"{root / 'train'} lacks emu")


def test_two_validation_folders_are_refused(root: Path) -> None:
    shutil.copytree(root / "test", root / "val")
    shutil.copytree(root / "test", root / "valid")
    assert refused(root) == f"one folder can be the validation split, {root} has val, valid: keep one"


def test_what_stands_beside_the_parts_and_classes_is_told(root: Path) -> None:
    for name in ("extra/cat/a.png", "labels.csv", "train/stray.png", "train/readme.txt"):
        put(root / name)
    tree = image_tree(root)
    assert names(tree) == PLAIN
    assert tree.notes == ["left out: 4 files or folders outside of the classes, e.g. extra"]


def test_images_in_deeper_folders_take_the_label_of_the_class(root: Path) -> None:
    for name in ("black/tom.png", "black/old/kit.png"):
        put(root / "train/cat" / name)
    tree = image_tree(root)
    assert names(tree)["cat"] == ["cat/a.png", "cat/b.png", "cat/black/old/kit.png", "cat/black/tom.png"]
    assert tree.notes == [
        "labelled by the class folder: 2 images in folders inside of it, e.g. train/cat/black/old/kit.png"
    ]


def test_links_to_files_and_folders_are_followed(root: Path, tmp_path: Path) -> None:
    put(tmp_path / "store/x.png")
    put(tmp_path / "store/more/y.png")
    (root / "train/cat/linked.png").symlink_to(tmp_path / "store/x.png")
    (root / "train/cat/folder").symlink_to(tmp_path / "store/more")
    for part in ("train", "test"):
        (root / part / "emu").symlink_to(tmp_path / "store/more")
    tree = image_tree(root)
    assert names(tree)["cat"] == ["cat/a.png", "cat/b.png", "cat/folder/y.png", "cat/linked.png"]
    assert names(tree)["emu"] == ["emu/y.png"]
    assert tree.warnings == []


def test_a_link_to_a_folder_around_it_is_not_followed_for_ever(root: Path) -> None:
    (root / "train/cat/again").symlink_to(root / "train/cat")
    tree = image_tree(root)
    assert names(tree) == PLAIN
    assert tree.warnings == ["left out: 1 link to a folder that it lies in, e.g. train/cat/again"]


@pytest.mark.parametrize("above", ["train", "."])
def test_a_link_further_up_is_not_followed_for_ever(root: Path, above: str) -> None:
    """It would bring the class's own images in again, and those of the others."""
    (root / "train/cat/again").symlink_to(root / above)
    tree = image_tree(root)
    assert names(tree) == PLAIN
    assert len(tree.warnings) == 1


def test_links_that_go_round_in_a_circle_are_read_as_missing_files(root: Path) -> None:
    (root / "train/cat/x.png").symlink_to(root / "train/cat/y.png")
    (root / "train/cat/y.png").symlink_to(root / "train/cat/x.png")
    assert names(image_tree(root))["cat"][-2:] == ["cat/x.png", "cat/y.png"]


def test_a_pipe_is_not_opened(root: Path) -> None:
    os.mkfifo(root / "train/cat/pipe.png")
    (root / "train/dog/link.png").symlink_to(root / "train/cat/pipe.png")
    tree = image_tree(root)
    assert names(tree) == PLAIN
    assert tree.warnings == [
        "left out: 2 entries with an image's ending that are no regular files, e.g. train/cat/pipe.png"
    ]


def test_classes_are_compared_as_people_see_them(root: Path) -> None:
    put(root / "train" / COMPOSED / "a.png")
    put(root / "test" / DECOMPOSED / "a.png")
    tree = image_tree(root)
    assert list(tree.parts["train"]) == list(tree.parts["test"]) == [COMPOSED, "cat", "dog"]
    assert (tree.notes, tree.warnings) == ([], [])


def test_two_folders_of_one_name_are_refused(root: Path) -> None:
    for name in (COMPOSED, DECOMPOSED):
        put(root / "train" / name / "a.png")
    if len(list((root / "train").iterdir())) == 3:
        pytest.skip("this file system has one form of Unicode")
    assert f"{root / 'train'} has two called {COMPOSED} in different forms of Unicode" in refused(root)


def test_two_images_of_one_name_are_told(root: Path) -> None:
    for name in (COMPOSED, DECOMPOSED):
        put(root / f"train/cat/{name}.png")
    if len(list((root / "train/cat").iterdir())) == 3:
        pytest.skip("this file system has one form of Unicode")
    tree = image_tree(root)
    assert len(tree.parts["train"]["cat"]) == 4
    assert tree.warnings == [
        "perhaps there twice: 1 image whose name differs from another's in the form of Unicode only, e.g. "
        f"train/cat/{COMPOSED}.png"
    ]


def test_names_that_differ_in_case_only(root: Path) -> None:
    for part in ("train", "test"):
        put(root / part / "Cat/a.png")
    if len(list((root / "train").iterdir())) == 2:
        pytest.skip("this file system knows no case")
    assert image_tree(root).warnings == ["two classes whose names differ in case only: Cat, cat"]
    shutil.rmtree(root / "test/Cat")
    shutil.rmtree(root / "train/cat")
    assert refused(root).endswith(f"{root / 'test'} lacks Cat (it has cat: rename one of them)")


def test_names_that_no_terminal_can_print_are_escaped(root: Path) -> None:
    for part in ("train", "test"):
        folder = root / part / os.fsdecode(b"caf\xe9")
        put(folder / "a.png")
    put(root / "train/cat/two\nlines.txt")
    tree = image_tree(root)
    assert "caf\\udce9" in tree.parts["train"]
    (line,) = tree.warnings
    assert "train/cat/two\\nlines.txt" in line
    for text in (*tree.parts["train"], *tree.warnings):
        text.encode("utf-8")


def test_a_folder_that_cannot_be_read_is_refused(root: Path) -> None:
    folder = root / "train/cat/locked"
    folder.mkdir(mode=0)
    if os.access(folder, os.R_OK):
        pytest.skip("this user may read everything")
    assert f"{folder} cannot be read (Permission denied)" in refused(root)


def test_missing_folders_are_named(root: Path) -> None:
    assert "got nowhere, which is no folder" in refused(Path("nowhere"))
    shutil.move(root / "test", root / "val")
    assert refused(root).endswith(
        f"got {root}, which holds no folder test, only train, val: rename val to be tested on it"
    )
    (root / "val").rename(root / "Test")
    assert refused(root).endswith(f"got {root}, which holds no folder test, only Test, train")
    (root / "test").mkdir()
    assert f"got {root / 'test'}, which holds no folders" in refused(root)


@pytest.mark.parametrize(("here", "there"), [("train", "test"), ("test", "train")])
def test_class_of_one_part_only_is_named(here: str, there: str, root: Path) -> None:
    put(root / here / "emu" / "a.png")
    assert f"{root / there} lacks emu" in refused(root)


def test_classes_without_images_are_named_with_what_they_hold(root: Path) -> None:
    for part in ("train", "test"):
        (root / part / "emu").mkdir()
    assert refused(root).endswith(f"{root / 'train'} has none in emu")
    for name in ("a.heic", "b.heic"):
        put(root / "train/emu" / name)
    put(root / "train/cat/notes.txt")
    assert refused(root).endswith(f"{root / 'train'} has none in emu (left out: 3 files (2 .heic, 1 .txt))")
