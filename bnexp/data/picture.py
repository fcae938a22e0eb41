"""One image file as bytes: what a viewer shows, on a white page."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from bnexp import plain_files
from bnexp.data.findings import Kind

# Pictures made of pixels: of Pillow's other formats EPS runs a program, and ICO holds one in many sizes.
FORMATS = ("PNG", "JPEG", "MPO", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "AVIF")
KINDRED = {"MPO": "JPEG", "DIB": "BMP"}  # the same but for what follows the first picture, or goes before
GREY_MODES = frozenset(("1", "L", "LA", "La"))
DEEP_MODES = frozenset(("I", "I;16", "I;16L", "I;16B", "I;16N"))
DEEPEST = 65535
DIM = 4095  # of DEEPEST: eight bits leave 16 greys
OPAQUE = 255
SRGB_GAMMA = 1 / 2.2
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # tags of TIFF, and a value
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow raised on 70,000 files of all formats, cut and changed at random, and what is kin to it.
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    MemoryError,
    struct.error,
    Image.DecompressionBombError,
)

TRANSPARENT = Kind(
    "filled with white", "image with transparent parts", "images with transparent parts", harmless=True
)
SEVERAL = Kind(
    "only the first picture is read",
    "file with several (animation or pages)",
    "files with several (animations or pages)",
)
PROFILED = Kind(
    "colours are read as sRGB's",
    "image with another colour profile or gamma",
    "images with another colour profile or gamma",
    harmless=True,
)
MISNAMED = Kind(
    "read by its content",
    "file whose ending stands for another format",
    "files whose ending stands for another format",
    harmless=True,
)
DARK = Kind(
    "nearly black in 8 bits",
    f"image of 16 bits with no value above {DIM:,} of {DEEPEST:,}",
    f"images of 16 bits with no value above {DIM:,} of {DEEPEST:,}",
    "stretch the values first",
)
KINDS = (TRANSPARENT, SEVERAL, PROFILED, MISNAMED, DARK)


@dataclass(frozen=True)
class Header:
    """What a file says before its pixels are read; the orientation tag may swap width and height."""

    size: tuple[int, int]
    in_colour: bool
    kinds: set[Kind]


@lru_cache
def endings() -> Mapping[str, str]:
    """Return the endings of files that are read, with the format that each stands for."""
    return {end: format for end, format in sorted(Image.registered_extensions().items()) if format in FORMATS}


@lru_cache
def formats() -> tuple[str, ...]:
    """Return which of FORMATS the installed Pillow looks for; MPO it finds behind JPEG."""
    return tuple(format for format in FORMATS if format in endings().values() and format in Image.OPEN)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    # Not by its name, by which Pillow 13 maps it into memory and mixes up the sides of a turned TIFF.
    with plain_files.opened(path) as file, Image.open(file, formats=formats()) as image:
        yield image


def read_header(path: Path) -> Header:
    """Read what a file says of its picture; raises one of UNREADABLE."""
    with _opened(path) as image:
        if image.mode == "F":
            raise ValueError("its pixels are floating-point numbers of no known range")
        kinds = set()
        held = KINDRED.get(str(image.format), image.format)
        named = endings()[path.suffix.lower()]
        if held != KINDRED.get(named, named):
            kinds.add(MISNAMED)
        # The further pictures in a camera's JPEG (MPO) are previews and depth maps, which no viewer shows.
        if getattr(image, "is_animated", False) and image.format != "MPO":
            kinds.add(SEVERAL)
        if _is_profiled(image):
            kinds.add(PROFILED)
        return Header(image.size, image.mode not in GREY_MODES | DEEP_MODES, kinds)


def _is_profiled(image: Image.Image) -> bool:
    profile, gamma = image.info.get("icc_profile"), image.info.get("gamma", SRGB_GAMMA)
    if profile:
        # A profile's name stands in it as ASCII (version 2) or as UTF-16 (version 4).
        names = (name.encode(code) for name in ("sRGB", "Gamma 2.2") for code in ("ascii", "utf-16-be"))
        return not any(name in profile for name in names)
    return "srgb" not in image.info and abs(gamma - SRGB_GAMMA) > 0.01


def read_picture(path: Path) -> tuple[np.ndarray, set[Kind]]:
    """Return one image as bytes (C, H, W), one channel if it is grey, and what is to be said of it."""
    with _opened(path) as image:
        image.load()
        if image.mode in DEEP_MODES:
            pixels, opacity, kinds = _deep_layers(image)
        else:
            (pixels, opacity), kinds = _layers(image, path), set()
    if opacity is not None and opacity.min() < OPAQUE:
        kinds.add(TRANSPARENT)
        blend = pixels.astype(np.int32) * opacity + OPAQUE * (OPAQUE - opacity.astype(np.int32))
        pixels = ((blend + OPAQUE // 2) // OPAQUE).astype(np.uint8)
    return np.moveaxis(pixels, 2, 0), kinds


def _layers(image: Image.Image, path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Return colours (H, W, 1 or 3) and, where something may be transparent, opacity (H, W, 1)."""
    mode = "L" if image.mode in GREY_MODES else "RGB"
    one_colour = "transparency" in image.info and image.mode in ("1", "L", "RGB")
    if image.has_transparency_data and not one_colour:
        layers = np.asarray(_turned(image).convert({"L": "LA", "RGB": "RGBA"}[mode]))
        return layers[..., :-1], layers[..., -1:]
    pixels = np.atleast_3d(np.asarray(_turned(image).convert(mode)))
    if not one_colour:
        return pixels, None
    return pixels, np.where((pixels == _transparent_colour(image, path)).all(2, keepdims=True), 0, OPAQUE)


def _transparent_colour(image: Image.Image, path: Path) -> np.ndarray:
    """Return the colour that stands for "nothing", as eight bits a channel.

    PNG has it in the file's own depth, and Pillow leaves it there when it brings the pixels to eight bits.
    """
    given, depth = np.asarray(image.info["transparency"], dtype=np.int64), 8
    if image.format == "PNG":
        with plain_files.opened(path) as file:
            depth = file.read(25)[24]  # signature 8, length and name of IHDR 8, width 4, height 4
    if depth > 8:
        raise ValueError("its transparent colour has 16 bits a channel: save it with an alpha channel")
    brightest = 2**depth - 1
    colour: np.ndarray = np.minimum(given, brightest) * OPAQUE // brightest
    return colour


def _deep_layers(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None, set[Kind]]:
    """Return greys of more than eight bits as `_layers` does."""
    values = np.asarray(_turned(image).convert("I"))[..., None].astype(np.int64)
    opacity = None
    if "transparency" in image.info:
        opacity = np.where(values == image.info["transparency"], 0, OPAQUE)
    full = DEEPEST
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        full = 4095 if image.tag_v2.get(BITS_PER_SAMPLE) == (12,) else full
        # Pillow turns white-is-zero greys of up to eight bits round, and no others.
        values = full - values if image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO else values
    if values.min() < 0 or values.max() > full:
        raise ValueError(f"values must lie in 0 to {full}")
    kinds = {DARK} if full == DEEPEST and values.max() <= DIM else set()
    return ((values * 255 + full // 2) // full).astype(np.uint8), opacity, kinds


def _turned(image: Image.Image) -> Image.Image:
    """Return the image as its orientation tag says; a tag that cannot be read says nothing."""
    if image.format == "TIFF":  # Pillow has done it
        return image
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except UNREADABLE:
        return image
    return image.transpose(turn) if turn is not None else image
