"""A folder of images, one slice each: TIFF, PNG or JPEG."""

from __future__ import annotations

import functools
import itertools
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, JpegImagePlugin, PngImagePlugin

from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.geometry import Box, Nm, Zyx
from chunkflow_liver.store.sources.pages import DAMAGE, check_page, read_page
from chunkflow_liver.store.sources.source import (
    checked_box,
    file_marks,
    fingerprint,
    voxel_type,
)

FAMILIES = {
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
}
MAX_GAP = 100_000

_GREY_MODES = {
    "1": "bool",
    "L": "uint8",
    "I;16": "uint16",
    "I;16L": "uint16",
    "I;16B": "uint16",
    "I": "int32",
    "F": "float32",
}
_IMAGE_DAMAGE = (*DAMAGE, SyntaxError, EOFError)
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class SliceFolder:
    """Slices that are image files of one folder, in the order of their numbers.

    Attributes
    ----------
    folder : str
        Where the files lie.
    listing : bytes
        File names by z, "/" between them, zlib-compressed (a stack of 50,000 slices pickles with
        every task); an empty name is a slice that is absent and reads as zeros.
    shape : Zyx
        Voxels along (z, y, x).
    dtype : str
        Native NumPy name of the voxel type.
    ignored : tuple of str
        Names in the folder that are hidden or no images.
    """

    folder: str
    listing: bytes
    shape: Zyx
    dtype: str
    ignored: tuple[str, ...] = ()

    @property
    def voxel_nm(self) -> Nm | None:
        """None: no image file states the distance to the next one."""
        return None

    @property
    def chunks(self) -> Zyx:
        return 1, self.shape[1], self.shape[2]

    @property
    def names(self) -> tuple[str, ...]:
        """File names by z; empty where a slice is absent."""
        return _names(self.listing)

    def read(self, box: Box) -> np.ndarray[Any, Any]:
        """Voxels of `box`; opens only the files of its slices."""
        checked_box(box, self.shape, self.folder)
        out = np.zeros(box.shape, self.dtype)
        for plane, z in zip(out, range(box.start[0], box.stop[0]), strict=True):
            if name := self.names[z]:
                _read_slice(os.path.join(self.folder, name), z, (box.start[1], box.start[2]), plane)
        return out

    def identity(self) -> str:
        """Fingerprint of all names and sizes, and the first and last 4 KiB of every file."""
        marks = (file_marks(os.path.join(self.folder, n)) if n else n for n in self.names)
        return fingerprint(self.shape, self.dtype, *marks)


def open_slices(folder: str, *, allow_gaps: bool = False) -> SliceFolder:
    """The slices in `folder`, ordered by number (slice_2 before slice_10).

    Parameters
    ----------
    folder : str
        A folder whose images are all of one format, shape and voxel type; hidden files and other
        formats are ignored. Only headers are read.
    allow_gaps : bool
        Whether numbers that are missing become slices of zeros, instead of an InputError.
    """
    images, ignored = _images(folder)
    ordered = _in_order(images, folder, allow_gaps)
    files = [os.path.join(folder, name) for name in ordered if name]
    kind = _header(files[0])
    for file in files[1:]:
        found = _header(file)
        if found != kind:
            raise InputError(
                f"{file} is {_text(found)}, but {files[0]} and the slices between them are "
                f"{_text(kind)}; all slices must agree: crop, pad or convert it, or move it away"
            )
    height, width, dtype = kind
    listing = zlib.compress("/".join(ordered).encode("utf-8", "surrogateescape"))
    return SliceFolder(folder, listing, (len(ordered), height, width), dtype, tuple(ignored))


def open_image(path: str) -> SliceFolder:
    """One PNG or JPEG file as a volume of one slice."""
    height, width, dtype = _header(path)
    file = Path(path)
    listing = zlib.compress(file.name.encode("utf-8", "surrogateescape"))
    return SliceFolder(str(file.parent), listing, (1, height, width), dtype)


@functools.lru_cache(maxsize=4)
def _names(listing: bytes) -> tuple[str, ...]:
    return tuple(zlib.decompress(listing).decode("utf-8", "surrogateescape").split("/"))


def _text(kind: tuple[int, int, str]) -> str:
    return f"{kind[0]} x {kind[1]} {kind[2]}"


def _images(folder: str) -> tuple[list[str], list[str]]:
    images: dict[str, list[str]] = {}
    ignored = []
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        family = FAMILIES.get(Path(entry.name).suffix.lower())
        if entry.name.startswith(".") or family is None or not entry.is_file():
            ignored.append(entry.name)
        else:
            images.setdefault(family, []).append(entry.name)
    if not images:
        seen = f"only {', '.join(ignored[:5])}" if ignored else "no files at all"
        raise InputError(
            f"{folder} holds no slices ({seen}); TIFF, PNG or JPEG files are wanted, or a zarr, N5 "
            "or precomputed volume"
        )
    if len(images) > 1:
        counts = ", ".join(f"{len(names)} {family} ({names[0]})" for family, names in images.items())
        raise InputError(f"{folder} mixes formats: {counts}; keep the slices of one volume alone in a folder")
    return next(iter(images.values())), ignored


def _in_order(names: Sequence[str], folder: str, allow_gaps: bool) -> list[str]:
    parts = [_DIGITS.split(Path(name).stem) for name in names]
    patterns: dict[tuple[str, ...], str] = {}
    for name, part in zip(names, parts, strict=True):
        patterns.setdefault(tuple(part[::2]), name)
    if len(patterns) > 1:
        if all(len(pattern) == 1 for pattern in patterns):  # no numbers: the alphabet orders them
            return list(names)
        raise InputError(
            f"the files in {folder} follow {len(patterns)} naming patterns, such as "
            f"{', '.join(repr(name) for name in list(patterns.values())[:3])}, so their order is "
            "not known; move what is no slice of this volume to another folder"
        )
    if len(names) == 1:
        return list(names)
    numbers = _slice_numbers([[int(digits) for digits in part[1::2]] for part in parts], folder)
    by_number = dict(zip(numbers, names, strict=True))
    span = range(min(numbers), max(numbers) + 1)
    if len(span) == len(names):
        return [by_number[n] for n in span]
    if not allow_gaps or len(span) - len(names) > MAX_GAP:
        raise InputError(
            f"{folder} holds {len(names)} slices numbered {span[0]} to {span[-1]}, but "
            f"{len(span) - len(names)} numbers are missing: {_ranges(by_number, span)}; add the "
            f"files, renumber them, or pass allow_gaps=True (--allow-gaps) for slices of zeros "
            f"(up to {MAX_GAP})"
        )
    return [by_number.get(n, "") for n in span]


def _slice_numbers(rows: Sequence[Sequence[int]], folder: str) -> list[int]:
    columns = [list(column) for column in zip(*rows, strict=True) if len(set(column)) > 1]
    telling = [column for column in columns if len(set(column)) == len(column)]
    if not telling:
        raise InputError(
            f"the file names in {folder} hold no number that differs in every file, so the slices "
            "have no order (tiles, or slice_1 beside slice_01?); number them by z"
        )
    # a time stamp beside the slice number also differs in every file, but has gaps
    return min(telling, key=lambda column: max(column) - min(column))


def _ranges(present: dict[int, str], span: range, limit: int = 10) -> str:
    known = sorted(present)
    gaps = [(a + 1, b - 1) for a, b in itertools.pairwise(known) if b - a > 1]
    text = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in gaps[:limit])
    return text if len(gaps) <= limit else f"{text} and {len(gaps) - limit} more ranges"


def _image(path: str) -> Image.Image:
    # the format classes, not Image.open: that refuses large slices as decompression bombs
    if FAMILIES[Path(path).suffix.lower()] == "PNG":
        return PngImagePlugin.PngImageFile(path)
    return JpegImagePlugin.JpegImageFile(path)


def _header(path: str) -> tuple[int, int, str]:
    """Height, width and voxel type of one slice, from its header."""
    try:
        if FAMILIES[Path(path).suffix.lower()] == "TIFF":
            with tifffile.TiffFile(path) as tif:
                page = tif.pages.first
                check_page(page, path)
                if len(tif.pages) > 1 or page.imagedepth > 1:
                    raise InputError(
                        f"{path} is a stack of its own ({len(tif.pages)} pages), but a folder must "
                        "hold one slice per file; open the file, or split it"
                    )
                return page.imagelength, page.imagewidth, voxel_type(page.dtype, path)
        with _image(path) as image:
            if image.mode not in _GREY_MODES:
                raise InputError(
                    f"{path} holds colour or alpha (mode {image.mode}); one grey value per pixel "
                    "is needed: save it as greyscale, e.g. Image > Type > 8-bit in Fiji"
                )
            return image.height, image.width, _GREY_MODES[image.mode]
    except _IMAGE_DAMAGE as err:
        if isinstance(err, InputError):
            raise
        raise InputError(
            f"{path} has no readable image header: {err}; fetch it again, or move it away"
        ) from err


def _read_slice(path: str, z: int, start: tuple[int, int], out: np.ndarray[Any, Any]) -> None:
    y, x = start
    try:
        if FAMILIES[Path(path).suffix.lower()] == "TIFF":
            with tifffile.TiffFile(path) as tif:
                read_page(tif.pages.first, start, out)
            return
        with _image(path) as image:
            pixels = np.asarray(image)
        if pixels.shape[0] < y + out.shape[0] or pixels.shape[1] < x + out.shape[1]:
            raise ValueError(f"it has {pixels.shape[0]} x {pixels.shape[1]} pixels")
        out[...] = pixels[y : y + out.shape[0], x : x + out.shape[1]]
    except _IMAGE_DAMAGE as err:
        raise ChunkError(
            f"{path}: slice {z} cannot be read: {err}; the file is damaged, cut off or changed: "
            "fetch it again"
        ) from err
