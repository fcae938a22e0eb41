"""Any tree of images is read as it is, decoded once, and refused in one line where it does not fit."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bnexp.data import image_folder as module
from bnexp.data.image_folder import image_folder
from bnexp.errors import ConfigError, DataError

GREY = np.arange(30, dtype=np.uint8).reshape(5, 6)
COLOUR = np.arange(90, dtype=np.uint8).reshape(5, 6, 3)


def save(path: Path, pixels: np.ndarray | Image.Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes with two training images and one test image each, all different."""
    root = tmp_path / "tree"
    for number, name in enumerate(
        ("train/cat/b", "train/cat/a", "train/dog/x", "train/dog/y", "test/cat/a", "test/dog/a")
    ):
        save(root / f"{name}.png", GREY + number)
    return root


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def cache_files(data_dir: Path) -> list[Path]:
    return sorted((data_dir / "cache").glob("*.pt"))


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def refused(data_dir: Path, root: Path) -> str:
    with pytest.raises(DataError) as error:
        image_folder(data_dir, root=str(root))
    assert cache_files(data_dir) == []
    return one_line(error)


def test_images_come_in_the_order_of_their_names(tree: Path, data_dir: Path) -> None:
    dataset = image_folder(data_dir, root=str(tree))
    assert dataset.classes == ("cat", "dog")
    assert dataset.train.labels.tolist() == [0, 0, 1, 1]
    assert dataset.test.labels.tolist() == [0, 1]
    oracle = np.stack([GREY + number for number in (1, 0, 2, 3)])[:, None]
    np.testing.assert_array_equal(dataset.train.images.numpy(), oracle)
    np.testing.assert_array_equal(dataset.test.images[:, 0].numpy(), np.stack([GREY + 4, GREY + 5]))


def test_other_files_are_passed_over_and_extensions_have_no_case(tree: Path, data_dir: Path) -> None:
    for clutter in (
        "train/.DS_Store",
        "train/cat/.hidden.png",
        "train/cat/Thumbs.db",
        "train/cat/notes.txt",
        "list.csv",
    ):
        (tree / clutter).write_text("no image")
    (tree / "train/.git").mkdir()
    save(tree / "train/cat/C.PNG", GREY + 9)
    save(tree / "train/dog/deeper/z.Bmp", GREY + 10)
    dataset = image_folder(data_dir, root=str(tree))
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.train.images[:, 0, 0, 0].tolist() == [9, 1, 0, 10, 2, 3]


@pytest.mark.parametrize("extension", ["png", "jpg", "jpeg", "bmp", "gif", "webp", "tif", "tiff", "ppm"])
def test_formats(extension: str, tree: Path, data_dir: Path) -> None:
    # Constant images survive lossy compression to a grey or two.
    save(tree / f"train/cat/c.{extension}", np.full((5, 6, 3), 100, dtype=np.uint8))
    image = image_folder(data_dir, root=str(tree)).train.images[2]
    assert image.shape == (3, 5, 6)
    assert (image.int() - 100).abs().max() <= 2


def test_one_colour_image_makes_all_three_channels(tree: Path, data_dir: Path) -> None:
    save(tree / "train/cat/a.png", COLOUR)
    images = image_folder(data_dir, root=str(tree)).train.images.numpy()
    np.testing.assert_array_equal(images[0], COLOUR.transpose(2, 0, 1))
    np.testing.assert_array_equal(images[1], np.stack([GREY] * 3))


def test_transparency_is_dropped(tree: Path, data_dir: Path) -> None:
    alpha = np.zeros((5, 6, 1), dtype=np.uint8)
    save(tree / "train/cat/a.png", Image.fromarray(np.concatenate((COLOUR, alpha), 2)))
    palette = Image.fromarray(GREY).convert("P")
    palette.info["transparency"] = bytes(256)
    save(tree / "train/cat/b.png", palette)
    images = image_folder(data_dir, root=str(tree)).train.images.numpy()
    np.testing.assert_array_equal(images[0], COLOUR.transpose(2, 0, 1))
    np.testing.assert_array_equal(images[1], np.stack([GREY] * 3))


def test_transparent_greys_stay_grey(tree: Path, data_dir: Path) -> None:
    save(tree / "train/cat/a.png", Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (6, 5), 0)]))
    images = image_folder(data_dir, root=str(tree)).train.images.numpy()
    np.testing.assert_array_equal(images[0], GREY[None])


@pytest.mark.parametrize("extension", ["png", "tif", "pgm"])
@pytest.mark.parametrize("colour", [False, True])
def test_sixteen_bits_are_scaled_to_eight(extension: str, colour: bool, tree: Path, data_dir: Path) -> None:
    deep = np.linspace(0, 65535, 30).astype(np.uint16).reshape(5, 6)
    (tree / "train/cat/a.png").unlink()
    save(tree / f"train/cat/a.{extension}", deep)
    if colour:
        save(tree / "train/cat/b.png", COLOUR)
    image = image_folder(data_dir, root=str(tree)).train.images[0].numpy()
    assert image.shape == (3 if colour else 1, 5, 6)
    np.testing.assert_array_equal(image, np.stack([np.rint(deep * (255 / 65535))] * len(image)))


def test_black_and_white_is_0_and_255(tree: Path, data_dir: Path) -> None:
    save(tree / "train/cat/a.png", Image.fromarray(GREY > 10))
    image = image_folder(data_dir, root=str(tree)).train.images[0, 0].numpy()
    np.testing.assert_array_equal(image, np.where(GREY > 10, 255, 0))


def test_second_call_reads_the_cache(tree: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = image_folder(data_dir, root=str(tree))
    assert capsys.readouterr().err == f"Decoding 6 images once into {data_dir / 'cache'} ...\n"
    [file] = cache_files(data_dir)
    written = file.stat().st_mtime_ns
    second = image_folder(data_dir, root=str(tree))
    assert capsys.readouterr() == ("", "")
    assert file.stat().st_mtime_ns == written
    for one, other in ((first.train, second.train), (first.test, second.test)):
        np.testing.assert_array_equal(one.images.numpy(), other.images.numpy())
        np.testing.assert_array_equal(one.labels.numpy(), other.labels.numpy())


def test_changed_image_is_decoded_anew(tree: Path, data_dir: Path) -> None:
    image_folder(data_dir, root=str(tree))
    save(tree / "train/cat/a.png", GREY + 50)
    os.utime(tree / "train/cat/a.png", ns=(1, 1))
    assert image_folder(data_dir, root=str(tree)).train.images[0, 0, 0, 0] == 50


def test_a_new_state_of_a_folder_replaces_its_older_ones_and_no_other_folders(
    tree: Path, data_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(tree, tmp_path / "copy")
    image_folder(data_dir, root=str(tmp_path / "copy"))
    [other] = cache_files(data_dir)
    for number in range(3):
        save(tree / f"train/cat/more{number}.png", GREY)
        image_folder(data_dir, root=str(tree))
    assert other in cache_files(data_dir) and len(cache_files(data_dir)) == 2
    [file] = {*cache_files(data_dir)} - {other}
    written = file.stat().st_mtime_ns
    assert len(image_folder(data_dir, root=str(tree)).train) == 7
    assert file.stat().st_mtime_ns == written


def test_renamed_image_moves(tree: Path, data_dir: Path) -> None:
    for name in ("a", "b"):
        (tree / f"train/cat/{name}.png").unlink()
        # Neither size nor time tells the two apart.
        os.utime(save(tree / f"train/cat/{name}.bmp", GREY + ord(name)), ns=(1, 1))
    image_folder(data_dir, root=str(tree))
    (tree / "train/cat/b.bmp").rename(tree / "train/cat/A.bmp")
    images = image_folder(data_dir, root=str(tree)).train.images
    assert images[:2, 0, 0, 0].tolist() == [ord("b"), ord("a")]


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"garbage" * 100])
def test_damaged_cache_is_rebuilt(damage, tree: Path, data_dir: Path) -> None:  # type: ignore[no-untyped-def]
    first = image_folder(data_dir, root=str(tree))
    [file] = cache_files(data_dir)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    second = image_folder(data_dir, root=str(tree))
    np.testing.assert_array_equal(first.train.images.numpy(), second.train.images.numpy())
    assert file.stat().st_size == len(whole)


def test_unwritable_data_folder_only_costs_the_cache(
    tree: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir.write_text("a file where the folder should be")
    assert len(image_folder(data_dir, root=str(tree)).train) == 4
    said = capsys.readouterr().err
    assert f"Cannot write to {data_dir / 'cache'} (Not a directory)" in said


def test_full_disk_only_costs_the_cache(
    tree: Path, data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert len(image_folder(data_dir, root=str(tree)).train) == 4
    assert "No space left on device" in capsys.readouterr().err
    assert [path.name for path in (data_dir / "cache").iterdir()] == [".lock"]


def test_tree_that_changes_while_it_is_read_is_not_cached(
    tree: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = module.decode

    def disturbed(files: list[Path]) -> object:
        save(tree / "test/cat/late.png", GREY)
        return decode(files)

    monkeypatch.setattr(module, "decode", disturbed)
    assert "changed while its images were read" in refused(data_dir, tree)


def test_missing_root_is_a_mistake_in_the_configuration(data_dir: Path) -> None:
    with pytest.raises(ConfigError) as error:
        image_folder(data_dir, root=None)
    assert one_line(error) == "data.root must name a folder with train/CLASS/* and test/CLASS/*"


def test_missing_folders_are_named(tree: Path, data_dir: Path) -> None:
    assert "got nowhere, which is no folder" in refused(data_dir, Path("nowhere"))
    shutil.move(tree / "test", tree / "val")
    assert f"got {tree}, which holds no folder test" in refused(data_dir, tree)
    (tree / "test").mkdir()
    assert f"got {tree / 'test'}, which holds no folders" in refused(data_dir, tree)


@pytest.mark.parametrize(("here", "there"), [("train", "test"), ("test", "train")])
def test_class_of_one_part_only_is_named(here: str, there: str, tree: Path, data_dir: Path) -> None:
    save(tree / here / "emu" / "a.png", GREY)
    assert f"{tree / there} lacks emu" in refused(data_dir, tree)


def test_class_without_images_is_named(tree: Path, data_dir: Path) -> None:
    (tree / "test/dog/a.png").unlink()
    (tree / "test/dog/readme.txt").write_text("gone")
    assert f"{tree / 'test'} has none in dog" in refused(data_dir, tree)


def test_truncated_image_is_named(tree: Path, data_dir: Path) -> None:
    file = tree / "train/cat/a.png"
    file.write_bytes(file.read_bytes()[:45])
    assert refused(data_dir, tree).startswith(f"1 of 6 images cannot be read: {file} (")


def test_up_to_three_unreadable_images_are_named(tree: Path, data_dir: Path) -> None:
    for name in ("train/cat/b", "train/dog/y", "test/cat/a"):
        (tree / f"{name}.png").write_text("no image")
    named = ", ".join(str(tree / name) for name in ("train/cat/b.png", "train/dog/y.png", "test/cat/a.png"))
    assert refused(data_dir, tree).startswith(f"3 of 6 images cannot be read: {named} (cannot identify")


def test_more_than_three_unreadable_images_are_not_all_named(tree: Path, data_dir: Path) -> None:
    for name in ("train/cat/a", "train/cat/b", "train/dog/x", "train/dog/y"):
        (tree / f"{name}.png").write_text("no image")
    message = refused(data_dir, tree)
    assert message.startswith(f"4 of 6 images cannot be read: {tree / 'train/cat/a.png'}, ")
    assert "x.png and others (cannot identify" in message and "y.png" not in message


def test_broken_link_is_named(tree: Path, data_dir: Path) -> None:
    (tree / "train/cat/c.png").symlink_to("nowhere.png")
    assert f"{tree / 'train/cat/c.png'} cannot be read" in refused(data_dir, tree)


def test_floating_point_images_are_refused(tree: Path, data_dir: Path) -> None:
    save(tree / "train/cat/a.tif", GREY.astype(np.float32))
    assert "floating-point numbers" in refused(data_dir, tree)


def test_integers_beyond_sixteen_bits_are_refused(tree: Path, data_dir: Path) -> None:
    save(tree / "train/cat/a.tif", GREY.astype(np.int32) + 65530)
    assert "values must lie in 0 to 65535" in refused(data_dir, tree)


def test_two_images_of_different_sizes_are_named(tree: Path, data_dir: Path) -> None:
    save(tree / "test/cat/a.png", np.zeros((7, 8), dtype=np.uint8))
    message = refused(data_dir, tree)
    assert f"{tree / 'train/cat/a.png'} is 6 x 5 and {tree / 'test/cat/a.png'} is 8 x 7" in message


def test_real_photographs(tmp_path: Path, data_dir: Path) -> None:
    source = Path(os.environ.get("BNEXP_DATA", "")) / "cifar10-jpeg"
    if not (source / "train").is_dir():
        pytest.skip("BNEXP_DATA names no folder with cifar10-jpeg")
    for part in ("train", "test"):
        for name in ("airplane", "cat", "truck"):
            (tmp_path / part / name).mkdir(parents=True)
            for image in sorted((source / part / name).iterdir())[:4]:
                shutil.copy(image, tmp_path / part / name)
    dataset = image_folder(data_dir, root=str(tmp_path))
    assert dataset.image_shape == (3, 32, 32)
    assert dataset.classes == ("airplane", "cat", "truck")
    assert dataset.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert 60 < dataset.train.images.double().mean() < 200
