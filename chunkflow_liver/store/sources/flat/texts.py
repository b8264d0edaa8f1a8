"""Volumes behind a header of text lines: NRRD and MetaImage; and NumPy's own files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.store.sources.axes_and_values import Meant, meant
from chunkflow_liver.store.sources.flat.array import FlatFile, checked_length
from chunkflow_liver.store.sources.flat.nifti import straight
from chunkflow_liver.store.sources.source import Asked, file_size, length_nm

_HEADER_LIMIT = 1 << 20
_NRRD_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_META_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_SAVE_RAW = "save it uncompressed in one file, e.g. with SimpleITK.WriteImage(image, 'a.mha')"
_DIRECTIONS = ("TransformMatrix", "Rotation", "Orientation")
_PLACES = ("Offset", "Position", "Origin")
Packing = Literal["none", "gzip", "zlib"]


def open_nrrd(path: str, asked: Asked) -> Meant:
    """The volume of a NRRD file, .nrrd or .nhdr, raw or in a gzip stream.

    Notes
    -----
    Axes run along x, y and z (fastest first), unless `space directions` says otherwise: then they are
    permuted and flipped so that all of them rise in the space of the file, whatever that is called.
    """
    lines, start = _header(path, end=re.compile(rb"\r?\n\r?\n"))
    fields: dict[str, str] = {}
    for line in lines[1:]:
        key, sign, value = line.partition(": ")
        if sign and not line.startswith("#"):
            fields[key.strip().lower().replace(" ", "")] = value.strip()
    shape = _whole(fields.get("sizes", ""), path, "sizes")
    name = " ".join(fields.get("type", "").lower().split())
    kind = next((k for k, names in _NRRD_TYPES.items() if name in names), None)
    encoding = fields.get("encoding", "").lower()
    if kind is None or encoding not in ("raw", "gzip", "gz"):
        raise InputError(
            f"{path} holds {fields.get('type')!r} voxels in the encoding {encoding!r}; plain numbers, raw or "
            "gzip, are read: save it so, e.g. unu save -f nrrd -e raw"
        )
    if int(kind[1]) > 1 and fields.get("endian") not in ("little", "big"):
        raise InputError(f"{path} does not say whether its {name} voxels are big or little endian")
    stored = kind if kind[1] == "1" else {"little": "<", "big": ">"}[fields["endian"]] + kind
    stored = f"|{kind}" if kind[1] == "1" else stored
    try:
        skip, lines_skipped = int(fields.get("byteskip", "0")), int(fields.get("lineskip", "0"))
    except ValueError as err:
        raise InputError(f"{path} has a header that cannot be read: {err}") from err
    data = fields.get("datafile")
    if lines_skipped or (data and (data.upper().startswith("LIST") or "%" in data)):
        raise InputError(f"{path} describes several files, or skips lines of one; {_SAVE_RAW}")
    packing: Packing = "none" if encoding == "raw" else "gzip"
    file = _beside(path, data) if data else path
    first = 0 if data else start
    flat = _flat(path, file, shape, stored, packing, first, skip)
    n = len(shape)
    spaced = [_vector(v) for v in re.findall(r"none|\([^)]*\)", fields.get("spacedirections", ""))]
    unit = re.findall(r'"([^"]*)"', fields.get("spaceunits", "")) or [""]
    spatial = [i for i, v in enumerate(spaced) if v is not None]
    if len(spaced) == n and len(spatial) == 3 and asked.axes is None:
        directions = np.array([spaced[i] for i in spatial], float).T
        origin = _vector(fields.get("spaceorigin", "")) or [0.0, 0.0, 0.0]
        if directions.shape != (3, 3) or len(origin) != 3:
            raise InputError(f"{path} lies in a space that has not 3 axes; {_SAVE_RAW}")
        names, flips, sizes, starts = straight(
            directions, np.array(origin), tuple(shape[i] for i in spatial), "xyz", path
        )
        units = unit if len(unit) == 3 else unit * 3
        told, turned, at = [f"({i})" for i in range(n)], [False] * n, [0.0] * n
        nm: list[float | None] = [None] * n
        for k, i in enumerate(spatial):
            told[i], turned[i], at[i] = names[k], flips[k], starts[k]
            nm[i] = length_nm(sizes[k], units["xyz".index(names[k])])
        return meant(
            flat,
            asked,
            names=told[::-1],
            flips=turned[::-1],
            sizes=nm[::-1],
            starts=at[::-1] if {"space", "spaceorigin"} & fields.keys() or any(turned) else (),
            frame=_space(fields.get("space", "")),
        )
    steps: list[Any] = fields.get("spacings", "").split() or [_length(v) for v in spaced]
    own = re.findall(r'"([^"]*)"', fields.get("units", "")) or [unit[0]] * n
    found = [length_nm(v, u) for v, u in zip(steps, own, strict=False)]
    return meant(flat, asked, sizes=found[::-1] if len(found) == n else None)


def open_metaimage(path: str, asked: Asked) -> Meant:
    """The volume of a MetaImage file, .mha or .mhd with its data, raw or in a zlib stream.

    Notes
    -----
    Axes run along x, y and z (fastest first), permuted and flipped as `TransformMatrix` says.
    """
    lines, start = _header(path, end=re.compile(rb"ElementDataFile[^\n]*\n"))
    pairs = (line.partition("=") for line in lines)
    fields = {key.strip(): value.strip() for key, sign, value in pairs if sign}
    shape = _whole(fields.get("DimSize", ""), path, "DimSize")
    kind, data = _META_TYPES.get(fields.get("ElementType", "")), fields.get("ElementDataFile", "")
    if kind is None or fields.get("ElementNumberOfChannels", "1") != "1" or _no(fields, "BinaryData", "True"):
        raise InputError(
            f"{path} holds {fields.get('ElementType')} voxels of "
            f"{fields.get('ElementNumberOfChannels', '1')} "
            f"channel(s); one plain binary number per voxel is read: save it so, e.g. with SimpleITK"
        )
    if data.upper().startswith("LIST") or "%" in data or not data:
        raise InputError(f"{path} describes several files; {_SAVE_RAW}")
    big = not _no(fields, "BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
    stored = f"|{kind}" if kind[1] == "1" else (">" if big else "<") + kind
    packing: Packing = "none" if _no(fields, "CompressedData", "False") else "zlib"
    local = data.upper() == "LOCAL"
    try:
        skip = int(fields.get("HeaderSize", "0") or 0)
        lengths = [float(v) for v in fields.get("ElementSpacing", fields.get("ElementSize", "")).split()]
        # each row of the file is the direction of one axis of the image
        rows = np.array(_first(fields, *_DIRECTIONS) or np.eye(3), float)
        at = np.array(_first(fields, *_PLACES) or np.zeros(3), float)
    except ValueError as err:
        raise InputError(f"{path} has a header that cannot be read: {err}") from err
    file, first = (path, start) if local else (_beside(path, data), 0)
    flat = _flat(path, file, shape, stored, packing, first, skip if not local or skip < 0 else 0)
    n = len(shape)
    unit = fields.get("DistanceUnits", "")
    if n != 3 or asked.axes is not None:
        found = [length_nm(v, unit) for v in lengths]
        return meant(flat, asked, sizes=found[::-1] if len(found) == n else None)
    if rows.size != 9 or at.size != 3 or len(lengths) not in (0, 3):
        raise InputError(f"{path} has {n} axes, but its TransformMatrix, Offset or ElementSpacing has not")
    directions = rows.reshape(3, 3).T * (lengths or [1.0] * 3)
    names, flips, found_sizes, starts = straight(directions, at, tuple(shape), "xyz", path)
    nm = [length_nm(v, unit) for v in found_sizes]
    placed = any(key in fields for key in (*_DIRECTIONS, *_PLACES))
    return meant(
        flat,
        asked,
        names=names[::-1],
        flips=flips[::-1],
        sizes=nm[::-1],
        starts=starts[::-1] if placed else (),
        frame="LPS",  # ITK's, whatever AnatomicalOrientation calls the voxels
    )


def open_npy(path: str, asked: Asked) -> Meant:
    """The array in a NumPy file, .npy."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, EOFError, SyntaxError, TypeError) as err:
        raise InputError(f"{path} is no readable NumPy file of plain numbers: {err}") from err
    order: Literal["C", "F"] = "C" if array.flags.c_contiguous else "F"
    flat = checked_length(
        FlatFile(path, array.shape, array.dtype.str, int(array.offset), "none", 0, "", order)
    )
    return meant(flat, asked)


def _space(name: str) -> str:
    """Directions of a NRRD space, right-anterior-superior as RAS; of a space without them its name."""
    words = name.lower().removesuffix("-time").split("-")
    directions = {"right", "left", "anterior", "posterior", "superior", "inferior"}
    return "".join(w[0] for w in words).upper() if directions.issuperset(words) else name.upper()


def _first(fields: dict[str, str], *keys: str) -> list[str]:
    return next((fields[key].split() for key in keys if key in fields), [])


def _header(path: str, end: re.Pattern[bytes]) -> tuple[list[str], int]:
    """Lines of the header, and the byte behind it."""
    with open(path, "rb") as file:
        head = file.read(_HEADER_LIMIT)
    found = end.search(head)
    if found is None and len(head) == _HEADER_LIMIT:
        raise InputError(
            f"{path} has no end of its header in the first {_HEADER_LIMIT} bytes; fetch it again"
        )
    stop = len(head) if found is None else found.end()
    return head[:stop].decode("latin-1").splitlines(), stop


def _whole(text: str, path: str, what: str) -> tuple[int, ...]:
    try:
        found = tuple(int(v) for v in text.split())
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise InputError(f"{path} is no readable volume: its header says {what} {text!r}")
    return found


def _vector(text: str) -> list[float] | None:
    try:
        return [float(v) for v in text.strip("() ").split(",")]
    except ValueError:
        return None


def _length(vector: list[float] | None) -> float | None:
    return None if vector is None else float(np.linalg.norm(vector))


def _no(fields: dict[str, str], key: str, usual: str) -> bool:
    return fields.get(key, usual).lower() not in ("true", "1", "yes")


def _beside(path: str, name: str) -> str:
    """The data file that a header names, in the header's folder or below it."""
    folder = Path(path).resolve().parent
    file = (folder / name).resolve()
    if not file.is_relative_to(folder):
        raise InputError(f"{path} has its data in {name}, outside its folder; put both into one folder")
    if not file.is_file():
        raise InputError(f"{path} has its data in {name}, which is not beside it; fetch that file too")
    return str(file)


def _flat(path: str, file: str, shape: Any, stored: str, packing: Packing, first: int, skip: int) -> FlatFile:
    header = "" if file == path else path
    shape = tuple(reversed(shape))
    if packing != "none":
        return checked_length(FlatFile(file, shape, stored, max(0, skip), packing, first, header))
    if skip < 0:  # the array ends the file
        size = int(np.prod(shape)) * np.dtype(stored).itemsize
        return checked_length(
            FlatFile(file, shape, stored, max(0, file_size(file) - size), "none", 0, header)
        )
    return checked_length(FlatFile(file, shape, stored, first + skip, "none", 0, header))
