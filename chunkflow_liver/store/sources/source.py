"""What every foreign volume has in common: the protocol, its checks, units and fingerprints."""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from chunkflow_liver.errors import InputError, install
from chunkflow_liver.geometry import Box, Nm, Zyx

HEAD_BYTES = 4096
NO_LABELS = (
    "is compressed as JPEG, which changes numbers, so that labels come back as others and masks with wide "
    "edges; save them anew as PNG or TIFF in the program that made them, or, of a mask of which no more is "
    "left, set a threshold at half of its largest value and save that"
)
"""What is wrong with labels in a lossy file, after its name."""

_DTYPES = frozenset(
    {"bool", "float16", "float32", "float64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)
_NM = {
    "pm": 1e-3,
    "picometer": 1e-3,
    "picometre": 1e-3,
    "a": 0.1,
    "å": 0.1,
    "angstrom": 0.1,
    "ångström": 0.1,
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometre": 1.0,
    "um": 1e3,
    "μm": 1e3,
    "micron": 1e3,
    "micrometer": 1e3,
    "micrometre": 1e3,
    "mm": 1e6,
    "millimeter": 1e6,
    "millimetre": 1e6,
    "cm": 1e7,
    "centimeter": 1e7,
    "centimetre": 1e7,
    "m": 1e9,
    "meter": 1e9,
    "metre": 1e9,
}


@dataclass(frozen=True)
class Asked:
    """What the user says of a file that is to be read.

    Attributes
    ----------
    dataset : str or None
        Which volume of a container.
    allow_gaps : bool
        Whether what is absent reads as zeros.
    labels : bool
        Whether the numbers are labels and not intensities.
    axes : str or None
        Order of the stored axes, slowest first; then nothing that the file says of orientation is applied.
    stored_values : bool
        Whether numbers are taken as stored, without the scale, offset or sign that the file states.
    """

    dataset: str | None = None
    allow_gaps: bool = False
    labels: bool = False
    axes: str | None = None
    stored_values: bool = False


class Stored(Protocol):
    """An array as a file stores it, with any number of axes; it pickles and holds no open file.

    Its text names the file (and the array in it). `chunks` are what one access decodes.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def chunks(self) -> tuple[int, ...]: ...

    def read(self, where: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        """Stored numbers of a part, one slice with start and stop along every axis."""
        ...

    def identity(self) -> str:
        """Fingerprint (hex) of names, sizes and header bytes; the same wherever the data lies."""
        ...


class Source(Protocol):
    """A 3-D volume in a foreign format that is read box by box; it pickles and holds no open file.

    Attributes
    ----------
    shape : Zyx
        Voxels along (z, y, x).
    dtype : str
        NumPy name of the native-endian voxel type.
    voxel_nm : Nm or None
        Voxel size along (z, y, x) in nm that the file states; None where it states nothing
        usable, which includes a size without a unit.
    origin : Nm
        Place of the first voxel along (z, y, x), in voxels; 0 where the file states none.
    frame : str or None
        Directions along which the (x, y, z) of that place rise, such as RAS or LPS (right or left, anterior
        or posterior, superior); empty where the file does not name them, None where it states no place.
    turned : bool
        Whether axes were flipped or permuted to rise in that space.
    chunks : Zyx
        Voxels along (z, y, x) that one access decodes: reading less costs as much.
    """

    @property
    def shape(self) -> Zyx: ...
    @property
    def dtype(self) -> str: ...
    @property
    def voxel_nm(self) -> Nm | None: ...
    @property
    def origin(self) -> Nm: ...
    @property
    def frame(self) -> str | None: ...
    @property
    def turned(self) -> bool: ...
    @property
    def chunks(self) -> Zyx: ...

    def read(self, box: Box) -> np.ndarray[Any, Any]:
        """Voxels of `box`: a C-contiguous native-endian copy of shape `box.shape`."""
        ...

    def identity(self) -> str:
        """Fingerprint (hex) of names, sizes and header bytes; the same wherever the data lies."""
        ...


def optional(module: str, what: str) -> Any:
    """The module called `module`; an InputError that says what to install where it is absent."""
    try:
        return importlib.import_module(module)
    except ImportError as err:
        raise InputError(f"reading {what} needs {module!r}; {install(module)}") from err


def voxel_type(dtype: Any, where: str) -> str:
    """Native NumPy name of `dtype`; InputError for complex, text, records and the like."""
    try:
        name = str(np.dtype(dtype).newbyteorder("=").name)
    except TypeError:
        name = str(dtype)
    if name not in _DTYPES:
        raise InputError(
            f"{where} holds {name} voxels; supported are bool, uint8/16/32/64, int8/16/32/64 and "
            "float16/32/64; convert it to one of these"
        )
    return name


def checked_box(box: Box, shape: Zyx, where: str) -> Box:
    """`box` if it has voxels and lies inside a volume of `shape`, else InputError."""
    if box.size == 0 or not Box.of(shape).contains(box):
        raise InputError(f"box {box} does not lie inside {where}, which has shape {shape}")
    return box


def size_nm(values: Iterable[Any], units: str | Iterable[Any]) -> Nm | None:
    """`values` (along z, y, x) in `units` as nm; None if a unit is unknown or a value unusable."""
    sizes = list(values)
    names = [units] * len(sizes) if isinstance(units, str) else list(units)
    if len(sizes) != 3 or len(names) != 3:
        return None
    lengths = [length_nm(value, name) for value, name in zip(sizes, names, strict=True)]
    if None in lengths:
        return None
    return cast(Nm, tuple(lengths))


def length_nm(value: Any, unit: Any) -> float | None:
    """A length above 0 in nm; None if its unit is unknown or it is no such length."""
    try:
        length = float(value) * _nm_per(str(unit))
    except (TypeError, ValueError, KeyError):
        return None
    # 12 digits: 0.0059 um is 5.9 nm, not 5.900000000000001
    return float(f"{length:.12g}") if math.isfinite(length) and length > 0 else None


def _nm_per(unit: str) -> float:
    name = unit.strip().strip("[]").replace("_", "")  # EMD files write [n_m]
    if "\\u" in name:  # ImageJ escapes the micro sign
        name = name.encode("ascii", "ignore").decode("unicode_escape")
    # the micro sign and the angstrom sign each have two code points
    name = name.replace("\u00b5", "\u03bc").replace("\u212b", "\u00e5").lower()
    return _NM[name] if name in _NM else _NM[name.removesuffix("s")]


def fingerprint(*parts: object) -> str:
    """128-bit hex digest of the text of `parts`, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def file_marks(path: str) -> tuple[str, int, bytes, bytes]:
    """Name, size in bytes, first and last 4 KiB of a file: what a fingerprint of it is made of."""
    size = file_size(path)
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
            file.seek(max(0, size - HEAD_BYTES))
            return Path(path).name, size, head, file.read(HEAD_BYTES)
    except OSError as err:
        raise InputError(f"{path} cannot be read: {err}") from err


def file_size(path: str) -> int:
    """Size of a file in bytes; InputError where there is none."""
    try:
        return Path(path).stat().st_size
    except OSError as err:
        raise InputError(f"{path} cannot be read: {err}") from err
