"""Single pages of TIFF files: where they lie, and their strips and tiles."""

from __future__ import annotations

import functools
import lzma
import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile

from chunkflow_liver.errors import ChunkError, InputError, install
from chunkflow_liver.store.sources.source import NO_LABELS, file_marks, fingerprint

_LOSSY = (6, 7, 34892)
"""Numbers of TIFF's compressions with JPEG."""
_JPEG_2000 = (33003, 33004, 33005, 34712)
"""Numbers of TIFF's compressions with JPEG 2000."""
DAMAGE = (
    OSError,
    ValueError,
    RuntimeError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    tifffile.TiffFileError,
)
"""What tifffile, Pillow and their decoders raise on damaged files of all kinds."""

_BASELINE_TAGS = 330
_TAG_BYTES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_TILE_LIMIT = 2**26


@dataclass(frozen=True)
class TiffPages:
    """A stack whose planes are pages of TIFF files.

    Attributes
    ----------
    files : tuple of str
        The files; the first is the one that was opened.
    places : bytes
        For every plane its file, page and sample (int32), zlib-compressed: a stack of 50,000 planes
        pickles with every task. The file -1 is a plane that is absent and reads as zeros.
    shape : tuple of int
        Voxels along (z, y, x).
    dtype : str
        Native NumPy name of the voxel type.
    chunks : tuple of int
        One tile of one page, or one page where it is stored in strips.
    """

    files: tuple[str, ...]
    places: bytes
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]

    def __str__(self) -> str:
        return self.files[0]

    def read(self, where: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        """Voxels of a part; only the strips or tiles that it meets are read and decoded."""
        start = (int(where[1].start), int(where[2].start))
        out = np.zeros([s.stop - s.start for s in where], self.dtype)
        wanted = _places(self.places)[where[0]]
        path, z, page_number = self.files[0], where[0].start, 0
        try:
            for number in np.unique(wanted[:, 0][wanted[:, 0] >= 0]):
                path = self.files[number]
                offsets = page_offsets(path)
                with tifffile.TiffFile(path) as tif:
                    for i in np.flatnonzero(wanted[:, 0] == number):
                        z, page_number = where[0].start + int(i), int(wanted[i, 1])
                        tif.filehandle.seek(int(offsets[page_number]))
                        page = tifffile.TiffPage(tif, index=page_number)
                        check_page(page, "it", planes=True)
                        if page.shape[-2:] != self.shape[1:]:
                            raise ValueError(f"it has shape {page.shape}, not {self.shape[1:]}")
                        read_page(page, start, out[i], int(wanted[i, 2]))
        except DAMAGE as err:
            raise ChunkError(
                f"{path}: slice {z} (page {page_number}) cannot be read: {err}; the file "
                "is damaged or cut off: fetch it again"
            ) from err
        return out

    def identity(self) -> str:
        """Fingerprint of names, sizes, and the first and last 4 KiB of the files."""
        marks = (part for file in self.files for part in file_marks(file))
        return fingerprint(self.shape, self.dtype, _places(self.places).tobytes(), *marks)


@functools.lru_cache(maxsize=8)
def _places(packed: bytes) -> np.ndarray[Any, Any]:
    return np.frombuffer(zlib.decompress(packed), np.int32).reshape(-1, 3)


def read_page(
    page: tifffile.TiffPage, start: tuple[int, int], out: np.ndarray[Any, Any], sample: int = 0
) -> None:
    """Fill `out` (Y, X) with the voxels of `page` from `start` (y, x) on; of one sample, if it has several.

    Raises
    ------
    ValueError
        If a strip or tile that `out` needs is missing, cut off or undecodable.
    """
    height, width = page.shape[-2:]
    y0, x0 = start
    y1, x1 = y0 + out.shape[0], x0 + out.shape[1]
    if y1 > height or x1 > width:
        raise ValueError(f"the page has {height} x {width} pixels")
    high, wide = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, width)
    high = min(int(high), height) if not page.is_tiled else int(high)
    across = -(-width // wide)
    before = sample * across * -(-height // high)
    file = page.parent.filehandle
    for row in range(y0 // high, -(-y1 // high)):
        for column in range(x0 // wide, -(-x1 // wide)):
            index = before + row * across + column
            offset, count = page.dataoffsets[index], page.databytecounts[index]
            if count == 0 or offset + count > file.size:
                raise ValueError(
                    f"bytes {offset} to {offset + count} hold its strip or tile {index}, but the "
                    f"file has {file.size}"
                )
            file.seek(offset)
            segment, _, _ = page.decode(file.read(count), index, jpegtables=page.jpegtables)
            if segment is None:
                raise ValueError(f"its strip or tile {index} is empty")
            piece = segment[0, :, :, 0]
            top, left = row * high, column * wide
            a, b = max(top, y0), min(top + high, y1)
            c, d = max(left, x0), min(left + wide, x1)
            out[a - y0 : b - y0, c - x0 : d - x0] = piece[a - top : b - top, c - left : d - left]


def page_offsets(path: str) -> np.ndarray[Any, Any]:
    """Byte offset of every page (uint64), by following the chain of the file to its end.

    Raises
    ------
    InputError
        If the chain or a tag leads out of the file. tifffile ends the list of pages and leaves out
        tags there, so that a file that was cut off would read as a shorter stack.
    """
    try:
        state = os.stat(path)
    except OSError as err:
        raise InputError(f"{path} cannot be read: {err}") from err
    return _page_offsets(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _page_offsets(path: str, size: int, changed_ns: int) -> np.ndarray[Any, Any]:
    offsets: list[int] = []
    with open(path, "rb") as file:
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        try:
            big = struct.unpack_from(f"{order}H", head, 2)[0] == 43
            count, link, inline = ("Q", "Q", 8) if big else ("H", "I", 4)
            entry = struct.Struct(f"{order}HH{link}{link}")
            (offset,) = struct.unpack_from(order + link, head, 8 if big else 4)
            while offset:
                if offset >= size or len(offsets) > size // 8:
                    raise struct.error(f"it leads to byte {offset} of {size}")
                file.seek(offset)
                (n,) = struct.unpack(order + count, file.read(struct.calcsize(order + count)))
                if n * entry.size > size:
                    raise struct.error(f"the page at byte {offset} announces {n} tags")
                _check_tags(entry.iter_unpack(file.read(n * entry.size)), inline, size)
                offsets.append(offset)
                (offset,) = struct.unpack(order + link, file.read(struct.calcsize(order + link)))
        except struct.error as err:
            raise InputError(
                f"{path} is cut off or damaged: its chain of pages breaks after {len(offsets)} "
                f"pages ({err}); fetch it again"
            ) from err
    return np.array(offsets, np.uint64)


def _check_tags(tags: Iterable[tuple[Any, ...]], inline: int, size: int) -> None:
    for tag, kind, number, place in tags:
        length = number * _TAG_BYTES.get(kind, 1)
        if tag < _BASELINE_TAGS and length > inline and place + length > size:
            raise struct.error(f"tag {tag} leads to byte {place} of {size}")


def check_page(page: Any, where: str, *, planes: bool = False, labels: bool = False) -> None:
    """Refuse a page whose pixels are not one plain grey value each, or that nothing can decode.

    `planes`: samples that are stored as planes of their own are fine, as they may be slices. `labels`: a
    compression that changes numbers is refused.
    """
    if labels and page.compression in _LOSSY:
        raise InputError(f"{where} {NO_LABELS}")
    apart = planes and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
    if not apart and (page.samplesperpixel != 1 or page.photometric in (tifffile.PHOTOMETRIC.RGB, 6)):
        raise InputError(
            f"{where} has {page.samplesperpixel} values per pixel (colour or alpha); save it as "
            "grey values, e.g. Image > Type > 8-bit in Fiji"
        )
    # tifffile stores True as 1 and calls it black
    mask = page.bitspersample == 1 and page.parent.pages.first.software.startswith("tifffile")
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and not mask:
        raise InputError(
            f"{where} stores white as 0 (PhotometricInterpretation MinIsWhite), so its values are "
            "inverted; save it with black as 0, e.g. in Python tifffile.imwrite(..., "
            "photometric='minisblack')"
        )
    tile = page.tilelength * page.tilewidth * page.tiledepth if page.is_tiled else 0
    if tile > max(_TILE_LIMIT, page.imagelength * page.imagewidth):
        raise InputError(
            f"{where} is damaged: it has tiles of {page.tilelength} x {page.tilewidth} pixels, but "
            f"is {page.imagelength} x {page.imagewidth}; fetch it again"
        )
    if page.compression in _JPEG_2000 and page.dtype == np.uint32:
        raise InputError(
            f"{where} holds 32-bit unsigned numbers as JPEG 2000, which the decoder does not give back as "
            "they were (an empty image becomes 1: findings/jpeg2000-flat-uint32.sh); write it "
            "anew with another compression, from the program that made it"
        )
    try:
        tifffile.TIFF.DECOMPRESSORS[page.compression]
    except KeyError as err:
        raise InputError(
            f"{where} is compressed with {tifffile.COMPRESSION(page.compression).name}, which "
            f"needs 'imagecodecs'; {install('imagecodecs')}"
        ) from err
