"""What every foreign volume has in common: the protocol, its checks, units and fingerprints."""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from chunkflow_liver.errors import InputError, install
from chunkflow_liver.geometry import Box, Nm, Zyx

HEAD_BYTES = 4096

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


def checked_shape(shape: Sequence[int], where: str) -> Zyx:
    """(z, y, x) of an array of `shape`: leading axes of length 1 dropped, 2-D becomes (1, y, x)."""
    left = [int(n) for n in shape]
    while len(left) > 3 and left[0] == 1:
        left.pop(0)
    if len(left) == 2:
        left.insert(0, 1)
    if len(left) != 3:
        raise InputError(
            f"{where} has shape {tuple(shape)}; one volume of shape (z, y, x) is needed: "
            "save one channel and one time point of it as a 3-D array"
        )
    if min(left) < 1:
        raise InputError(f"{where} is empty: its shape is {tuple(shape)}")
    return left[0], left[1], left[2]


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
    lengths = []
    for value, name in zip(sizes, names, strict=True):
        try:
            length = float(value) * _nm_per(str(name))
        except (TypeError, ValueError, KeyError):
            return None
        if not (math.isfinite(length) and length > 0):
            return None
        # 12 digits: 0.0059 um is 5.9 nm, not 5.900000000000001
        lengths.append(float(f"{length:.12g}"))
    return lengths[0], lengths[1], lengths[2]


def _nm_per(unit: str) -> float:
    name = unit.strip()
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
