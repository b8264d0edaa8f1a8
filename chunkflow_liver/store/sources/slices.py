"""A folder of images, one slice each: TIFF, PNG, JPEG, JPEG 2000, BMP or PGM."""

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

from chunkflow_liver.errors import InputError
from chunkflow_liver.store.sources.axes_and_values import Meant, meant
from chunkflow_liver.store.sources.named import known_by_name
from chunkflow_liver.store.sources.pictures import FAMILIES, IMAGE_DAMAGE, Kind, header, read_slice
from chunkflow_liver.store.sources.source import Asked, file_marks, fingerprint
from chunkflow_liver.store.sources.tiff import ome_files, open_tiff

MAX_GAP = 100_000
NO_SLICES = "TIFF, PNG, JPEG, JPEG 2000, BMP or PGM files are wanted, or a zarr, N5 or precomputed volume"

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
    shape : tuple of int
        Voxels along (z, y, x).
    dtype : str
        Native NumPy name of the voxel type.
    ignored : tuple of str
        Names in the folder that are hidden or no images.
    indexed : bool
        Whether indices into palettes are the values.
    """

    folder: str
    listing: bytes
    shape: tuple[int, ...]
    dtype: str
    ignored: tuple[str, ...] = ()
    indexed: bool = False

    def __str__(self) -> str:
        return self.folder

    @property
    def chunks(self) -> tuple[int, ...]:
        return 1, self.shape[1], self.shape[2]

    @property
    def names(self) -> tuple[str, ...]:
        """File names by z; empty where a slice is absent."""
        return _names(self.listing)

    def read(self, where: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        """Voxels of a part; opens only the files of its slices."""
        first, start = where[0].start, (int(where[1].start), int(where[2].start))
        out = np.zeros([s.stop - s.start for s in where], self.dtype)
        for z, plane in enumerate(out, first):
            if name := self.names[z]:
                read_slice(os.path.join(self.folder, name), z, start, plane, self.indexed)
        return out

    def identity(self) -> str:
        """Fingerprint of all names and sizes, and the first and last 4 KiB of every file."""
        marks = (file_marks(os.path.join(self.folder, n)) if n else n for n in self.names)
        return fingerprint(self.shape, self.dtype, *marks)


def open_slices(folder: str, asked: Asked) -> Meant:
    """The slices in `folder`, ordered by number (slice_2 before slice_10).

    Notes
    -----
    A folder whose images are all of one format, shape and voxel type; hidden files and other formats are
    ignored. Only headers are read. Files that OME-XML puts together are ordered by it. Of images with a
    colour table the index is the value, and so it is of labels with a table of grey values.
    """
    images, ignored = _images(folder)
    if FAMILIES[Path(images[0]).suffix.lower()] == "TIFF" and _is_ome_set(os.path.join(folder, images[0])):
        return open_tiff(os.path.join(folder, images[0]), asked)
    ordered = _in_order(images, folder, asked.allow_gaps)
    files = [os.path.join(folder, name) for name in ordered if name]
    kind = header(files[0], asked.labels)
    for file in files[1:]:
        _check_alike(file, header(file, asked.labels), files[0], kind)
    return _folder(folder, ordered, kind, asked, tuple(ignored))


def open_image(path: str, asked: Asked) -> Meant:
    """One PNG, JPEG, JPEG 2000, BMP or PGM file as a volume of one slice."""
    file = Path(path)
    if file.suffix.lower() not in FAMILIES:
        raise InputError(
            f"{path} is an image whose name does not end in one of {', '.join(FAMILIES)}; rename it"
        )
    return _folder(str(file.parent), [file.name], header(path, asked.labels), asked, ())


def _folder(folder: str, names: Sequence[str], kind: Kind, asked: Asked, ignored: tuple[str, ...]) -> Meant:
    listing = zlib.compress("/".join(names).encode("utf-8", "surrogateescape"))
    shape = (len(names), kind.height, kind.width)
    stored = SliceFolder(folder, listing, shape, kind.dtype, ignored, bool(kind.palette))
    return meant(stored, asked, names=("z", "y", "x"), values=kind.values)


def _check_alike(file: str, found: Kind, first: str, kind: Kind) -> None:
    n = min(len(found.palette), len(kind.palette))
    if bool(found.palette) != bool(kind.palette) or found.palette[:n] != kind.palette[:n]:
        raise InputError(
            f"{file} has another colour table than {first}, so that its numbers stand for other colours; "
            "save all "
            "slices with one table, or as grey values"
        )
    if found._replace(palette=b"") != kind._replace(palette=b""):
        raise InputError(
            f"{file} is {found}, but {first} and the slices between them are "
            f"{kind}; all slices must agree: crop, pad or convert it, or move it away"
        )


def _is_ome_set(path: str) -> bool:
    try:
        return ome_files(path)
    except IMAGE_DAMAGE:
        return False  # the headers are read next, and damage is named there


@functools.lru_cache(maxsize=4)
def _names(listing: bytes) -> tuple[str, ...]:
    return tuple(zlib.decompress(listing).decode("utf-8", "surrogateescape").split("/"))


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
        raise InputError(f"{folder} holds no slices ({seen}); {known_by_name(*ignored, folder) or NO_SLICES}")
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
