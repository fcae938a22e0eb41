"""A file becomes what a viewer shows; files are written byte by byte where Pillow could share a mistake."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from bnexp.data.picture import (
    DARK,
    MISNAMED,
    PROFILED,
    SEVERAL,
    TRANSPARENT,
    UNREADABLE,
    endings,
    read_header,
    read_picture,
)

GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6  # PNG's colour types


def png(
    size: tuple[int, int],
    depth: int,
    colour: int,
    rows: Sequence[bytes],
    chunks: Sequence[tuple[bytes, bytes]] = (),
    interlace: int = 0,
) -> bytes:
    """Return a PNG file of the raw `rows`, as the specification (W3C PNG, second edition, 11.2) has it."""
    header = struct.pack(">2I5B", *size, depth, colour, 0, 0, interlace)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    content = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in content
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def read(folder: Path, content: bytes, name: str = "a.png") -> tuple[np.ndarray, set]:
    path = folder / name
    path.write_bytes(content)
    pixels, kinds = read_picture(path)
    assert pixels.dtype == np.uint8
    return pixels, kinds | read_header(path).kinds


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def on_white(values: Sequence[float], opacities: Sequence[float]) -> np.ndarray:
    """Round half up of a v + (1 - a) 255, in float64."""
    v, a = np.array(values, dtype=float), np.array(opacities, dtype=float) / 255
    return np.floor(a * v + (1 - a) * 255 + 0.5)


# ---- transparency


def test_a_drawing_in_the_alpha_channel_is_seen(tmp_path: Path) -> None:
    """Black pixels throughout; the shape is where they are opaque."""
    row = bytes([0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 100])
    pixels, kinds = read(tmp_path, png((3, 1), 8, COLOUR_ALPHA, [row]))
    assert pixels[:, 0].tolist() == [[0, 255, 155]] * 3
    assert kinds == {TRANSPARENT}


def test_every_opacity_of_every_value_blends_with_white_to_the_nearest_byte(tmp_path: Path) -> None:
    values, opacities = np.meshgrid(np.arange(256), np.arange(256))
    rows = np.stack([values, opacities], 2).astype(np.uint8)
    pixels, _ = read(tmp_path, png((256, 256), 8, GREY_ALPHA, [row.tobytes() for row in rows]))
    np.testing.assert_array_equal(pixels[0], on_white(values, opacities))


def test_opaque_alpha_changes_nothing_and_is_not_told(tmp_path: Path) -> None:
    row = bytes([10, 20, 30, 255, 40, 50, 60, 255])
    pixels, kinds = read(tmp_path, png((2, 1), 8, COLOUR_ALPHA, [row]))
    assert pixels[:, 0].T.tolist() == [[10, 20, 30], [40, 50, 60]]
    assert kinds == set()


@pytest.mark.parametrize(
    ("depth", "row", "key", "expected"),
    [
        (1, [0b01000000], 0, [255, 255]),
        (1, [0b01000000], 1, [0, 255]),
        (2, [0b00011011], 2, [0, 85, 255, 255]),
        (4, [0x05, 0xF0], 5, [0, 255, 255, 0]),
        (8, [0, 5, 200], 5, [0, 255, 200]),
        (8, [0, 5, 200], 0, [255, 5, 200]),
        (16, [0, 0, 3, 232, 255, 255], 1000, [0, 255, 255]),
    ],
)
def test_one_transparent_grey(
    tmp_path: Path, depth: int, row: list[int], key: int, expected: list[int]
) -> None:
    """tRNS holds it in the file's own depth."""
    content = png((len(expected), 1), depth, GREY, [bytes(row)], [(b"tRNS", struct.pack(">H", key))])
    pixels, kinds = read(tmp_path, content)
    assert pixels.tolist() == [[expected]]
    assert kinds == {TRANSPARENT}


def test_one_transparent_colour(tmp_path: Path) -> None:
    chunk = (b"tRNS", struct.pack(">3H", 1, 2, 3))
    pixels, kinds = read(tmp_path, png((2, 1), 8, COLOUR, [bytes([1, 2, 3, 1, 2, 4])], [chunk]))
    assert pixels[:, 0].T.tolist() == [[255, 255, 255], [1, 2, 4]]
    assert kinds == {TRANSPARENT}


def test_a_transparent_colour_of_sixteen_bits_is_refused(tmp_path: Path) -> None:
    """Pillow keeps the upper eight bits of the pixels, so that other colours would vanish with it."""
    chunk = (b"tRNS", struct.pack(">3H", 0, 0, 0))
    content = png((1, 1), 16, COLOUR, [struct.pack(">3H", 200, 200, 200)], [chunk])
    with pytest.raises(ValueError, match="transparent colour has 16 bits"):
        read(tmp_path, content)


def test_a_palette_with_transparent_entries(tmp_path: Path) -> None:
    chunks = [(b"PLTE", bytes([9, 9, 9, 50, 60, 70, 200, 210, 220])), (b"tRNS", bytes([0, 128]))]
    pixels, kinds = read(tmp_path, png((3, 1), 8, PALETTE, [bytes([0, 1, 2])], chunks))
    expected = [on_white([9] * 3, [0] * 3), on_white([50, 60, 70], [128] * 3), [200, 210, 220]]
    np.testing.assert_array_equal(pixels[:, 0].T, expected)
    assert kinds == {TRANSPARENT}


@pytest.mark.parametrize(
    ("mode", "format", "ending"),
    [("LA", "TIFF", "tif"), ("PA", "TIFF", "tif"), ("RGBA", "TIFF", "tif"), ("RGBA", "WEBP", "webp")],
)
def test_alpha_in_other_modes_and_formats(tmp_path: Path, mode: str, format: str, ending: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((0, 0), (0, 0, 0, 255))
    options = {"lossless": True} if format == "WEBP" else {}
    pixels, kinds = read(tmp_path, saved(image.convert(mode), format, **options), f"a.{ending}")
    assert pixels[:, 0].tolist() == [[0, 255]] * len(pixels)
    assert kinds == {TRANSPARENT}


def test_a_transparent_gif(tmp_path: Path) -> None:
    image = Image.frombytes("P", (2, 1), bytes([0, 1]))
    image.putpalette([10, 20, 30, 40, 50, 60])
    pixels, kinds = read(tmp_path, saved(image, "GIF", transparency=1), "a.gif")
    assert pixels[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255]]
    assert kinds == {TRANSPARENT}


# ---- orientation

UPRIGHT = np.arange(1, 7, dtype=np.uint8).reshape(2, 3) * 40
# How a viewer turns what is stored, by the tag: Exif 2.32, 4.6.4 A, "the 0th row is at ...".
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: UPRIGHT.T[::-1],
    7: UPRIGHT.T[::-1, ::-1],
    8: UPRIGHT.T[:, ::-1],
}
LOSSLESS = [
    ("PNG", "png", {}),
    ("TIFF", "tif", {}),
    ("TIFF", "tif", {"compression": "tiff_lzw"}),
    ("WEBP", "webp", {"lossless": True}),
]


@pytest.mark.parametrize("tag", STORED)
@pytest.mark.parametrize(("format", "ending", "options"), LOSSLESS, ids=str)
def test_images_are_turned_as_their_tag_says(
    tmp_path: Path, tag: int, format: str, ending: str, options: dict[str, object]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = tag
    given = {"tiffinfo": {0x0112: tag}} if format == "TIFF" else {"exif": exif}
    stored = Image.fromarray(np.ascontiguousarray(STORED[tag]))
    pixels, kinds = read(tmp_path, saved(stored, format, **given, **options), f"a.{ending}")
    np.testing.assert_array_equal(pixels, np.broadcast_to(UPRIGHT, (len(pixels), 2, 3)))
    assert kinds == set()


@pytest.mark.parametrize("tag", STORED)
def test_photographs_are_turned_as_their_tag_says(tmp_path: Path, tag: int) -> None:
    """Each value fills a block of JPEG's, which it survives to a grey or two."""
    exif = Image.Exif()
    exif[0x0112] = tag
    large = Image.fromarray(np.kron(STORED[tag], np.ones((8, 8), dtype=np.uint8)))
    pixels, _ = read(tmp_path, saved(large, "JPEG", exif=exif, quality=95), "a.jpg")
    difference = pixels[0, 4::8, 4::8].astype(int) - UPRIGHT
    assert np.abs(difference).max() <= 2


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_a_tag_that_cannot_be_read_says_nothing(tmp_path: Path, exif: bytes) -> None:
    content = saved(Image.fromarray(np.full((8, 16), 100, dtype=np.uint8)), "JPEG", exif=exif)
    pixels, _ = read(tmp_path, content, "a.jpg")
    assert pixels.shape == (1, 8, 16)


# ---- depth


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path, ending: str) -> None:
    deep = np.linspace(0, 65535, 30).astype(np.uint16).reshape(5, 6)
    format = {"tif": "TIFF", "pgm": "PPM"}.get(ending, "PNG")
    pixels, kinds = read(tmp_path, saved(Image.fromarray(deep), format), f"a.{ending}")
    np.testing.assert_array_equal(pixels, [np.rint(deep * (255 / 65535))])
    assert kinds == set()


def tiff(values: bytes, size: tuple[int, int], bits: int, photometric: int) -> bytes:
    """Return an uncompressed grey TIFF of one strip: little-endian, the entries sorted by tag."""
    entries = [
        (256, 4, size[0]),
        (257, 4, size[1]),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8 + 2 + 9 * 12 + 4),
        (277, 3, 1),
        (278, 4, size[1]),
        (279, 4, len(values)),
    ]
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + bytes(4) + values


def test_white_is_zero_in_sixteen_bits_too(tmp_path: Path) -> None:
    content = tiff(struct.pack("<3H", 0, 65535, 32768), (3, 1), 16, photometric=0)
    pixels, _ = read(tmp_path, content, "a.tif")
    assert pixels.tolist() == [[[255, 0, 127]]]


def test_twelve_bits_fill_the_range(tmp_path: Path) -> None:
    content = tiff(bytes([0xFF, 0xF0, 0x00]), (2, 1), 12, photometric=1)
    pixels, kinds = read(tmp_path, content, "a.tif")
    assert pixels.tolist() == [[[255, 0]]]
    assert kinds == set()


def test_maxval_of_a_portable_greymap_fills_the_range(tmp_path: Path) -> None:
    assert read(tmp_path, b"P5 3 1 15\n\x00\x05\x0f", "a.pgm")[0].tolist() == [[[0, 85, 255]]]
    wide = b"P5 2 1 1023\n" + struct.pack(">2H", 1023, 512)
    assert read(tmp_path, wide, "a.pgm")[0].tolist() == [[[255, 128]]]


@pytest.mark.parametrize(("brightest", "dark"), [(4095, True), (4096, False), (255, True)])
def test_sixteen_bits_that_use_few_of_their_values_are_told(
    tmp_path: Path, brightest: int, dark: bool
) -> None:
    deep = Image.fromarray(np.array([[0, brightest]], dtype=np.uint16))
    assert (DARK in read(tmp_path, saved(deep, "PNG"))[1]) == dark


def test_black_and_white_is_0_and_255(tmp_path: Path) -> None:
    assert read(tmp_path, png((2, 1), 1, GREY, [bytes([0b01000000])]))[0].tolist() == [[[0, 255]]]


def test_colours_of_sixteen_bits_keep_the_upper_eight(tmp_path: Path) -> None:
    row = struct.pack(">3H", 0x12FF, 0xFF00, 0x80AB)
    assert read(tmp_path, png((1, 1), 16, COLOUR, [row]))[0][:, 0, 0].tolist() == [0x12, 0xFF, 0x80]


def test_floating_point_numbers_are_refused(tmp_path: Path) -> None:
    content = saved(Image.fromarray(np.ones((2, 2), dtype=np.float32)), "TIFF")
    with pytest.raises(ValueError, match="floating-point numbers of no known range"):
        read(tmp_path, content, "a.tif")


@pytest.mark.parametrize("values", [[0, 65536], [-1, 5]])
def test_integers_outside_of_sixteen_bits_are_refused(tmp_path: Path, values: list[int]) -> None:
    content = saved(Image.fromarray(np.array([values], dtype=np.int32)), "TIFF")
    with pytest.raises(ValueError, match="values must lie in 0 to 65535"):
        read(tmp_path, content, "a.tif")


# ---- colour


def test_a_palettes_colours_are_those_of_its_entries(tmp_path: Path) -> None:
    chunks = [(b"PLTE", bytes([9, 8, 7, 50, 60, 70]))]
    pixels, kinds = read(tmp_path, png((2, 1), 1, PALETTE, [bytes([0b01000000])], chunks))
    assert pixels[:, 0].T.tolist() == [[9, 8, 7], [50, 60, 70]]
    assert kinds == set()


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_is_light_that_inks_leave(tmp_path: Path, format: str) -> None:
    """Pillow writes Adobe's inverted values into a JPEG, as Photoshop does; both read as ink."""
    inks = np.array([0, 100, 255, 50])
    image = Image.fromarray(np.tile(inks.astype(np.uint8), (8, 8, 1)), "CMYK")
    pixels, _ = read(tmp_path, saved(image, format), "a." + ("jpg" if format == "JPEG" else "tif"))
    expected = 255 * (1 - inks[:3] / 255) * (1 - inks[3] / 255)
    assert np.abs(pixels[:, 4, 4] - expected).max() <= 2


def test_only_profiles_and_gammas_other_than_srgb_are_told(tmp_path: Path) -> None:
    image = Image.new("RGB", (1, 1))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    assert read(tmp_path, saved(image, "PNG", icc_profile=srgb))[1] == set()
    assert read(tmp_path, saved(image, "PNG", icc_profile=other))[1] == {PROFILED}
    for gamma, kinds in ((45455, set()), (100000, {PROFILED})):
        content = png((1, 1), 8, GREY, [b"\x64"], [(b"gAMA", struct.pack(">I", gamma))])
        assert read(tmp_path, content) == ([[[100]]], kinds)
    srgb_chunk = [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100000))]
    assert read(tmp_path, png((1, 1), 8, GREY, [b"\x64"], srgb_chunk))[1] == set()


def test_an_interlaced_image_is_put_together(tmp_path: Path) -> None:
    """Adam7 has the first pixel in pass 1, the second in pass 6, the second row in pass 7."""
    content = png((2, 2), 8, GREY, [bytes([1]), bytes([2]), bytes([3, 4])], interlace=1)
    assert read(tmp_path, content)[0].tolist() == [[[1, 2], [3, 4]]]


# ---- several pictures, other names


@pytest.mark.parametrize(
    ("format", "ending"), [("GIF", "gif"), ("WEBP", "webp"), ("PNG", "png"), ("TIFF", "tif")]
)
def test_of_several_pictures_the_first_is_taken_and_told(tmp_path: Path, format: str, ending: str) -> None:
    first, second = (Image.new("L", (3, 2), value) for value in (200, 10))
    options = {"lossless": True} if format == "WEBP" else {}
    content = saved(first, format, save_all=True, append_images=[second], **options)
    pixels, kinds = read(tmp_path, content, f"a.{ending}")
    assert set(pixels.ravel().tolist()) == {200}
    assert kinds == {SEVERAL}


def test_previews_in_a_cameras_file_are_not_told(tmp_path: Path) -> None:
    content = saved(Image.new("L", (8, 8), 200), "MPO", save_all=True, append_images=[Image.new("L", (8, 8))])
    pixels, kinds = read(tmp_path, content, "a.jpg")
    assert pixels.shape == (1, 8, 8) and pixels.min() >= 199
    assert kinds == set()


def test_a_file_is_read_by_what_it_holds(tmp_path: Path) -> None:
    image = Image.new("L", (8, 8), 200)
    for name, format, kinds in (
        ("a.png", "BMP", {MISNAMED}),
        ("a.jfif", "JPEG", set()),
        ("a.JPG", "JPEG", set()),
    ):
        pixels, found = read(tmp_path, saved(image, format), name)
        assert (pixels.mean(), found) == (200, kinds)


def test_formats_that_run_programs_are_not_opened(tmp_path: Path) -> None:
    for content in (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n",
        saved(Image.new("L", (16, 16)), "ICO"),
    ):
        with pytest.raises(OSError, match="cannot identify"):
            read(tmp_path, content)


def test_what_people_name_photographs_is_read() -> None:
    wanted = {
        ".png",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".bmp",
        ".gif",
        ".webp",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
    }
    assert wanted <= endings().keys()
    assert not {".eps", ".ico", ".psd", ".svg", ".pdf"} & endings().keys()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"])
def test_a_file_cut_short_raises_what_is_told_as_unreadable(tmp_path: Path, format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    whole = saved(Image.fromarray(noise), format)
    for size in (0, 1, 4, 10, 20, 30, len(whole) // 2):
        with pytest.raises(UNREADABLE):
            read(tmp_path, whole[:size], f"a.{'tif' if format == 'TIFF' else format.lower()}")
