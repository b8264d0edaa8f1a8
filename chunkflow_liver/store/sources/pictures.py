"""Single image files as slices: what their headers say, and their pixels."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import tifffile
from PIL import BmpImagePlugin, Image, Jpeg2KImagePlugin, JpegImagePlugin, PngImagePlugin, PpmImagePlugin
from PIL import WebPImagePlugin as WebP

from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.store.sources.axes_and_values import AS_STORED, Values
from chunkflow_liver.store.sources.pages import DAMAGE, check_page, read_page
from chunkflow_liver.store.sources.source import NO_LABELS, optional, voxel_type
from chunkflow_liver.store.sources.tiff import calibration

FAMILIES = {
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jp2": "JPEG 2000",
    ".j2k": "JPEG 2000",
    ".jpx": "JPEG 2000",
    ".bmp": "BMP",
    ".pgm": "PGM",
    ".webp": "WebP",
}
_OPENERS = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "PGM": PpmImagePlugin.PpmImageFile,
    "WebP": WebP.WebPImageFile,
}
_GREY_MODES = {
    "1": "bool",
    "L": "uint8",
    "I;16": "uint16",
    "I;16L": "uint16",
    "I;16B": "uint16",
    "I": "int32",
    "F": "float32",
}
IMAGE_DAMAGE = (*DAMAGE, SyntaxError, EOFError)
_WHOLE_RANGES = (b"255", b"65535")
_CODESTREAM = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000 code stream, and of the segment that tells its size."""
_SEARCHED_BYTES = 1 << 16


class Kind(NamedTuple):
    """What all slices of a volume have in common.

    Attributes
    ----------
    height, width : int
    dtype : str
        NumPy name of the voxel type.
    palette : bytes
        Colours of a file whose voxels are indices; empty where they are grey values.
    values : Values
        What the numbers stand for.
    """

    height: int
    width: int
    dtype: str
    palette: bytes = b""
    values: Values = AS_STORED

    def __str__(self) -> str:
        calibrated = "" if self.values == AS_STORED else f", calibrated ({self.values})"
        return f"{self.height} x {self.width} {self.dtype}{calibrated}"


def header(path: str, labels: bool) -> Kind:
    """What the header of one image file says; with `labels`, an index into a palette is the value."""
    family = FAMILIES[Path(path).suffix.lower()]
    try:
        if family == "TIFF":
            return _tiff_header(path, labels)
        if family == "JPEG 2000":
            return _jpeg2000_header(path)
        if family == "JPEG" and labels:
            raise InputError(f"{path} {NO_LABELS}")
        with _opened(path, family) as image:
            if image.mode == "P":
                colours, grey = _palette(image)
                indexed = labels or not grey
                return Kind(image.height, image.width, "uint8", colours if indexed else b"")
            if image.mode not in _GREY_MODES:
                raise InputError(
                    f"{path} holds colour or alpha (mode {image.mode}); one grey value per pixel "
                    f"is needed: save it as greyscale{_elsewhere(family)}, e.g. Image > Type > 8-bit in Fiji"
                )
            dtype = _GREY_MODES[image.mode]
            if family == "PGM":
                _check_range(path)
                dtype = "uint16" if dtype == "int32" else dtype
            return Kind(image.height, image.width, dtype)
    except IMAGE_DAMAGE as err:
        if isinstance(err, InputError):
            raise
        raise InputError(
            f"{path} has no readable image header: {err}; fetch it again, or move it away"
        ) from err


def read_slice(path: str, z: int, start: tuple[int, int], out: np.ndarray[Any, Any], indexed: bool) -> None:
    """Fill `out` with the pixels of one image file from `start` (y, x) on; the slice is called `z`.

    `indexed`: of a file with a palette, the index is the value and not the grey value it stands for.
    """
    y, x = start
    family = FAMILIES[Path(path).suffix.lower()]
    try:
        if family == "TIFF":
            with tifffile.TiffFile(path) as tif:
                read_page(tif.pages.first, start, out)
            return
        if family == "JPEG 2000":
            pixels = optional("imagecodecs", "JPEG 2000").jpeg2k_decode(Path(path).read_bytes())
        else:
            with _opened(path, family) as image:
                pixels = np.asarray(image.convert("L") if image.mode == "P" and not indexed else image)
        if pixels.ndim != 2 or pixels.shape[0] < y + out.shape[0] or pixels.shape[1] < x + out.shape[1]:
            raise ValueError(f"it has {' x '.join(map(str, pixels.shape))} pixels")
        out[...] = pixels[y : y + out.shape[0], x : x + out.shape[1]]
    except IMAGE_DAMAGE as err:
        if isinstance(err, InputError):
            raise
        raise ChunkError(
            f"{path}: slice {z} cannot be read: {err}; the file is damaged, cut off or changed: "
            "fetch it again"
        ) from err


def _opened(path: str, family: str) -> Image.Image:
    # the format classes, not Image.open: that refuses large slices as decompression bombs
    opener: Any = _OPENERS[family]
    return cast(Image.Image, opener(path))


def _elsewhere(family: str) -> str:
    return " PNG, as WebP has no grey values" if family == "WebP" else ""


def _tiff_header(path: str, labels: bool) -> Kind:
    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
        check_page(page, path, labels=labels)
        if len(tif.pages) > 1 or page.imagedepth > 1:
            raise InputError(
                f"{path} is a stack of its own ({len(tif.pages)} pages), but a folder must "
                "hold one slice per file; open the file, or split it"
            )
        dtype = voxel_type(page.dtype, path)
        return Kind(page.imagelength, page.imagewidth, dtype, b"", calibration(tif, path))


def _jpeg2000_header(path: str) -> Kind:
    # Pillow shifts 12-bit values up to 16 bits; the code stream tells how many there are
    with open(path, "rb") as file:
        head = file.read(_SEARCHED_BYTES)
    at = head.find(_CODESTREAM)
    if at < 0:
        raise ValueError("it holds no JPEG 2000 code stream")
    right, low, left, top = struct.unpack_from(">4I", head, at + 8)
    (channels,) = struct.unpack_from(">H", head, at + 40)
    bits = head[at + 42]
    if channels != 1:
        raise InputError(
            f"{path} holds colour or alpha ({channels} channels); one grey value per pixel is needed: save "
            "it "
            "as greyscale, e.g. Image > Type > 8-bit in Fiji"
        )
    sign, depth = ("int", (bits & 127) + 1) if bits & 128 else ("uint", bits + 1)
    optional("imagecodecs", "JPEG 2000")
    return Kind(low - top, right - left, f"{sign}{8 if depth <= 8 else 16 if depth <= 16 else 32}")


def _palette(image: Image.Image) -> tuple[bytes, bool]:
    """Colours of a palette as RGB, and whether all are grey."""
    found = image.palette
    if found is None:
        return b"", False
    step = 4 if len(found.rawmode or "RGB") == 4 else 3
    table = np.frombuffer(bytes(found.palette), np.uint8)
    table = table[: len(table) // step * step].reshape(-1, step)[:, :3]
    if (found.rawmode or "").startswith("BGR"):
        table = table[:, ::-1]
    return table.tobytes(), bool((table == table[:, :1]).all())


def _check_range(path: str) -> None:
    """Refuse a PGM file whose largest value is not that of its type: decoders stretch it."""
    with open(path, "rb") as file:
        words = b" ".join(line.partition(b"#")[0] for line in file.read(1024).splitlines()[:16]).split()
    if len(words) < 4 or words[3] not in _WHOLE_RANGES:
        raise InputError(
            f"{path} states a largest value of {words[3:4]}, but only 255 and 65535 are read as they are; "
            "save it as "
            "PNG or TIFF"
        )
