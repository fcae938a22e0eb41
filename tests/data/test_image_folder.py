"""Any tree of images is read as it is, decoded once, and refused in one line where it does not fit."""

import io
import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
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


def test_transparent_greys_stay_grey(tree: Path, data_dir: Path) -> None:
    save(tree / "train/cat/a.png", Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (6, 5), 255)]))
    images = image_folder(data_dir, root=str(tree)).train.images.numpy()
    np.testing.assert_array_equal(images[0], GREY[None])


@pytest.mark.parametrize("colour", [False, True])
def test_deep_greys_beside_colours_have_three_equal_channels(
    colour: bool, tree: Path, data_dir: Path
) -> None:
    deep = np.linspace(0, 65535, 30).astype(np.uint16).reshape(5, 6)
    save(tree / "train/cat/a.png", deep)
    if colour:
        save(tree / "train/cat/b.png", COLOUR)
    image = image_folder(data_dir, root=str(tree)).train.images[0].numpy()
    assert image.shape == (3 if colour else 1, 5, 6)
    np.testing.assert_array_equal(image, np.stack([np.rint(deep * (255 / 65535))] * len(image)))


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


def odd_images(tree: Path) -> list[str]:
    """Put an image of each odd kind into the tree; return what the first words of the lines must be."""
    clear = np.zeros((5, 6, 4), dtype=np.uint8)
    clear[2, 2] = 255
    save(tree / "train/cat/clear.png", clear)
    moving = [Image.fromarray(GREY + number) for number in range(2)]
    moving[0].save(tree / "train/cat/moving.gif", save_all=True, append_images=moving[1:])
    Image.fromarray(GREY).save(tree / "train/cat/bitmap.png", "BMP")
    save(tree / "train/cat/deep.png", np.full((5, 6), 500, dtype=np.uint16))
    Image.fromarray(GREY + 7).save(tree / "train/cat/profile.png", icc_profile=b"Adobe RGB (1998)")
    (tree / "train/cat/a.heic").write_bytes(b"")
    return [
        "colours are read as sRGB's",
        "filled with white",
        "left out",
        "nearly black in 8 bits",
        "only the first picture is read",
        "read by its content",
    ]


def test_what_was_found_is_told_in_every_run(tree: Path, data_dir: Path) -> None:
    """The first run decodes, the second reads what it kept."""
    expected = odd_images(tree)
    first, second = (image_folder(data_dir, root=str(tree)) for _ in range(2))
    assert (first.notes, first.warnings) == (second.notes, second.warnings)
    told = sorted([*first.notes, *first.warnings])
    assert [line.partition(":")[0] for line in told] == expected
    assert "filled with white: 1 image with transparent parts, e.g. train/cat/clear.png" in first.notes


def test_images_that_an_earlier_version_kept_are_decoded_anew(tree: Path, data_dir: Path) -> None:
    """It kept the bare tensor, in which transparent drawings were black."""
    image_folder(data_dir, root=str(tree))
    (file,) = cache_files(data_dir)
    torch.save(torch.zeros(6, 1, 5, 6, dtype=torch.uint8), file)
    assert image_folder(data_dir, root=str(tree)).train.images[0, 0, 0, 1] == GREY[0, 1] + 1


def test_a_validation_folder_becomes_the_validation_part(tree: Path, data_dir: Path) -> None:
    save(tree / "val/dog/a.png", GREY + 40)
    dataset = image_folder(data_dir, root=str(tree))
    assert dataset.val is not None
    assert dataset.val.labels.tolist() == [1]
    np.testing.assert_array_equal(dataset.val.images[0, 0].numpy(), GREY + 40)
    assert (len(dataset.train), len(dataset.test)) == (4, 2)


def test_images_are_of_one_size_after_they_are_turned(tree: Path, data_dir: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(GREY.T[::-1])).save(tree / "train/cat/a.png", exif=exif)
    images = image_folder(data_dir, root=str(tree)).train.images
    np.testing.assert_array_equal(images[0, 0].numpy(), GREY)
    Image.fromarray(GREY).save(tree / "train/cat/a.png", exif=exif)
    assert f"{tree / 'train/cat/a.png'} is 5 x 6 and {tree / 'train/cat/b.png'} is 6 x 5" in refused(
        data_dir / "again", tree
    )


def test_libraries_print_nothing(tree: Path, data_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Pillow warns of damaged tags and logs, and libtiff writes to the descriptor of stderr."""
    whole = io.BytesIO()
    Image.fromarray(COLOUR).save(whole, "TIFF", compression="tiff_lzw")
    content = bytearray(whole.getvalue())
    content[10:20] = b"\xff" * 10
    (tree / "train/cat/broken.tif").write_bytes(content)
    exif = b"Exif\0\0II*\0\xff\xff\xff\xff"
    Image.fromarray(GREY).save(tree / "train/cat/exif.jpg", exif=exif)
    assert refused(data_dir, tree).startswith("1 of 8 images cannot be read")
    assert capfd.readouterr().err == f"Decoding 8 images once into {data_dir / 'cache'} ...\n"


def test_more_images_than_memory_are_refused(
    tree: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 6 * 30 - 1}.get)
    assert "all images must fit into memory as bytes: these 6 take" in refused(data_dir, tree)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "it is empty"), (b"no image\n", "it is none of PNG, JPEG"), (b"%PDF-1.7\n", "it is none of PNG")],
)
def test_what_is_no_image_is_told_as_such(content: bytes, reason: str, tree: Path, data_dir: Path) -> None:
    (tree / "train/cat/a.png").write_bytes(content)
    assert f"1 of 6 images cannot be read: {tree / 'train/cat/a.png'} ({reason}" in refused(data_dir, tree)


def test_a_decompression_bomb_is_not_unpacked(tree: Path, data_dir: Path) -> None:
    """A header of 60,000 x 60,000 pixels: 3.6 GB."""
    content = bytearray((tree / "train/cat/a.png").read_bytes())
    content[16:24] = struct.pack(">2I", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tree / "train/cat/a.png").write_bytes(content)
    assert "(it has more than 178,956,970 pixels)" in refused(data_dir, tree)


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

    def disturbed(files: list[Path], root: Path) -> object:
        save(tree / "test/cat/late.png", GREY)
        return decode(files, root)

    monkeypatch.setattr(module, "decode", disturbed)
    assert "changed while its images were read" in refused(data_dir, tree)


def test_missing_root_is_a_mistake_in_the_configuration(data_dir: Path) -> None:
    with pytest.raises(ConfigError) as error:
        image_folder(data_dir, root=None)
    assert one_line(error) == "data.root must name a folder with train/CLASS/* and test/CLASS/*"


def test_truncated_image_is_named(tree: Path, data_dir: Path) -> None:
    file = tree / "train/cat/a.png"
    file.write_bytes(file.read_bytes()[:45])
    assert refused(data_dir, tree).startswith(f"1 of 6 images cannot be read: {file} (")


def test_up_to_three_unreadable_images_are_named(tree: Path, data_dir: Path) -> None:
    for name in ("train/cat/b", "train/dog/y", "test/cat/a"):
        (tree / f"{name}.png").write_text("no image")
    named = ", ".join(str(tree / name) for name in ("train/cat/b.png", "train/dog/y.png", "test/cat/a.png"))
    assert refused(data_dir, tree).startswith(
        f"3 of 6 images cannot be read: {named} (it is none of PNG, JPEG"
    )


def test_more_than_three_unreadable_images_are_not_all_named(tree: Path, data_dir: Path) -> None:
    for name in ("train/cat/a", "train/cat/b", "train/dog/x", "train/dog/y"):
        (tree / f"{name}.png").write_text("no image")
    message = refused(data_dir, tree)
    assert message.startswith(f"4 of 6 images cannot be read: {tree / 'train/cat/a.png'}, ")
    assert "x.png and 1 more (it is none of" in message and "y.png" not in message


def test_broken_link_is_named(tree: Path, data_dir: Path) -> None:
    (tree / "train/cat/c.png").symlink_to("nowhere.png")
    assert f"{tree / 'train/cat/c.png'} cannot be read" in refused(data_dir, tree)


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
