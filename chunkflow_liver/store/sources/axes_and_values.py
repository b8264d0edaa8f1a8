"""What stored arrays mean: the one place where axes are turned and numbers become values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box, Nm, Zyx
from chunkflow_liver.store.sources.source import Asked, Stored, checked_box, fingerprint, voxel_type

SPACE = "zyx"
ABSENT = -1
_PICTURE_SIDE = 16
_NAMES = {"c": "channels", "t": "time points", "s": "values per pixel"}
_UNSIGNED, _SIGNED = ("uint8", "uint16", "uint32", "uint64"), ("int8", "int16", "int32", "int64")


@dataclass(frozen=True)
class Values:
    """What stored numbers stand for: `scale` times a number plus `offset`.

    Attributes
    ----------
    scale, offset : float
        Whole numbers map integers exactly, into the smallest integer type that holds all of them; of
        anything else float32 comes (float64 of numbers with more than 16 bits).
    bits : str
        Type as which the stored bits are to be read (uint16, of unsigned numbers that a format without
        them stores as int16); empty for the type that the file states.
    """

    scale: float = 1.0
    offset: float = 0.0
    bits: str = ""

    @property
    def whole(self) -> bool:
        """Whether integers stay integers."""
        return float(self.scale).is_integer() and float(self.offset).is_integer()

    @property
    def plain(self) -> bool:
        return (self.scale, self.offset) == (1.0, 0.0)

    def dtype(self, stored: str) -> str:
        """Type of the values of `stored` numbers.

        Raises
        ------
        InputError
            If no type holds them, or scale and offset are no numbers.
        """
        kind = np.dtype(self.bits or stored)
        if not (math.isfinite(self.scale) and math.isfinite(self.offset) and self.scale):
            raise InputError(f"values cannot be {self.scale} times what is stored plus {self.offset}")
        if self.plain:
            return kind.name
        if kind.kind == "f" or not self.whole:
            return "float32" if kind.itemsize <= (4 if kind.kind == "f" else 2) else "float64"
        low, high = self.range(stored)
        for name in _UNSIGNED if low >= 0 else _SIGNED:
            if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
                return name
        raise InputError(f"values of {low:g} to {high:g} fit no integer type")

    def range(self, stored: str) -> tuple[int, int]:
        """Least and largest value that integers of type `stored` can have."""
        kind = np.dtype(self.bits or stored)
        ends = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
        if self.whole:
            found = sorted(int(self.scale) * int(n) + int(self.offset) for n in ends)
        else:
            found = sorted(round(self.scale * n + self.offset) for n in ends)
        return found[0], found[1]

    def of(self, array: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
        """Values of the stored numbers in `array`, as `dtype`."""
        if self.bits:
            array = array.view(self.bits)
        if self.plain:
            return array
        if np.dtype(dtype).kind in "iu":
            wide = array.astype(np.uint64 if dtype == "uint64" else np.int64)
            return np.asarray(wide * int(self.scale) + int(self.offset), dtype)
        return np.asarray(array.astype(np.float64) * self.scale + self.offset, dtype)


AS_STORED = Values()


@dataclass(frozen=True)
class Meant:
    """A stored array as what its file says it is: a volume of values along (z, y, x).

    Attributes
    ----------
    stored : Stored
        The array, of any number of axes.
    take : tuple of int
        Stored axis that becomes z, y, x; -1 for one that is not there, which gets one voxel.
    flip : tuple of bool
        Axes of z, y, x along which the file stores the last voxel first.
    values : Values
        What its numbers stand for.
    voxel_nm : Nm or None
    origin : tuple of float
        Place of the first voxel along (z, y, x), in voxels.
    frame : str or None
        As of `Source`.
    """

    stored: Stored
    take: Zyx
    flip: tuple[bool, bool, bool] = (False, False, False)
    values: Values = AS_STORED
    voxel_nm: Nm | None = None
    origin: Nm = (0.0, 0.0, 0.0)
    frame: str | None = None

    @property
    def turned(self) -> bool:
        """Whether voxels come in another direction than they are stored in, by what the file says."""
        # a file that names its axes x, y, z without a space to lie in is only read in that order
        return any(self.flip) or bool(self.frame and sorted(self.take) != list(self.take))

    @property
    def shape(self) -> Zyx:
        return self._along(self.stored.shape)

    @property
    def chunks(self) -> Zyx:
        return self._along(self.stored.chunks)

    @property
    def dtype(self) -> str:
        return self.values.dtype(self.stored.dtype)

    def _along(self, lengths: Sequence[int]) -> Zyx:
        z, y, x = (1 if axis == ABSENT else int(lengths[axis]) for axis in self.take)
        return z, y, x

    def read(self, box: Box) -> np.ndarray[Any, Any]:
        """Values in `box`; reads that part of the stored array only."""
        shape = self.shape
        checked_box(box, shape, str(self.stored))
        where = [slice(0, 1)] * len(self.stored.shape)
        for axis, flip, a, b, n in zip(self.take, self.flip, box.start, box.stop, shape, strict=True):
            if axis != ABSENT:
                where[axis] = slice(n - b, n - a) if flip else slice(a, b)
        found = self.stored.read(tuple(where))
        spatial = [axis for axis in self.take if axis != ABSENT]
        others = [axis for axis in range(found.ndim) if axis not in spatial]
        turned = found.transpose(*others, *spatial).reshape(box.shape)
        turned = turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flip)]
        turned = np.array(turned, dtype=self.stored.dtype, order="C")  # a copy of its own
        return np.ascontiguousarray(self.values.of(turned, self.dtype))

    def identity(self) -> str:
        """Fingerprint of the stored array, and of how it is turned and read where it is."""
        own = self.stored.identity()
        same = self.take[-1] == len(self.stored.shape) - 1 and list(self.take) == sorted(self.take)
        if same and not any(self.flip) and self.values == AS_STORED:
            return own
        return fingerprint(own, self.take, self.flip, self.values)


def meant(
    stored: Stored,
    asked: Asked,
    *,
    names: Sequence[str] = (),
    sizes: Sequence[float | None] | None = None,
    starts: Sequence[float] = (),
    flips: Sequence[bool] = (),
    frame: str = "",
    values: Values = AS_STORED,
) -> Meant:
    """The volume in a stored array of which the file says this much.

    Parameters
    ----------
    stored : Stored
    asked : Asked
        What the user says, which wins: order of the axes, numbers as stored.
    names : sequence of str
        Name of every stored axis, x, y and z among them; if not, the last three that are longer than one
        voxel are z, y, x.
    sizes : sequence of float or None, optional
        Voxel size along every stored axis, in nm.
    starts : sequence of float
        Place of the lowest voxel along every stored axis, in voxels; empty where the file states none.
    flips : sequence of bool
        Stored axes of which the last voxel comes first.
    frame : str
        Directions of the space in which they lie, such as RAS; empty where the file does not name them.
    values : Values

    Raises
    ------
    InputError
        If the axes are not those of one volume.
    """
    where, shape = str(stored), stored.shape
    if asked.axes is not None:
        names, starts, flips = _given(asked.axes, shape, where), (), ()
    take = _take([str(n).strip().lower() for n in names], shape, where)
    if min(shape) < 1:
        raise InputError(f"{where} is empty: its shape is {tuple(shape)}")
    voxel_nm = None
    if sizes is not None:
        found = [None if axis == ABSENT else sizes[axis] for axis in take]
        if found[0] is None and (take[0] == ABSENT or shape[take[0]] == 1):
            found[0] = found[2]  # a single plane has no thickness of its own
        if all(v is not None and math.isfinite(v) and v > 0 for v in found):
            voxel_nm = cast(Nm, tuple(found))
    origin = tuple(float(starts[a]) if starts and a != ABSENT else 0.0 for a in take)
    flip = tuple(bool(flips[a]) if flips and a != ABSENT else False for a in take)
    kept = AS_STORED if asked.stored_values else values
    placed = frame if len(starts) else None
    made = Meant(stored, take, cast(Any, flip), kept, voxel_nm, cast(Nm, origin), placed)
    voxel_type(made.dtype, where)
    return made


def _given(axes: str, shape: Sequence[int], where: str) -> list[str]:
    names = list(axes.lower())
    if len(names) == 3 and len(shape) != 3:
        # the user names the axes that count
        long = [i for i, n in enumerate(shape) if n > 1]
        long = long if len(long) == 3 else list(range(len(shape)))[-3:]
        return [names[long.index(i)] if i in long else f"({i})" for i in range(len(shape))]
    if sorted(set(names) & set(SPACE)) not in (sorted(SPACE), ["x", "y"]) or len(names) != len(shape):
        raise InputError(
            f"{where} has {len(shape)} axes of {tuple(shape)} voxels, and axes={axes!r} (--axes) does not "
            "fit: name each of them once, slowest first, x, y and z among them, as in zyx or tzyxc"
        )
    return names


def _take(names: Sequence[str], shape: Sequence[int], where: str) -> Zyx:
    if not {"x", "y"} <= set(names) or len(set(names)) != len(names) or len(names) != len(shape):
        _check_colour(shape, where)
        return _by_length(shape, where)
    for name, n in zip(names, shape, strict=True):
        if name not in SPACE and n > 1:
            what = _NAMES.get(name, f"voxels along its axis {name!r}")
            order = "".join("z" if v == name else v[-1] for v in names)
            slices = f", or, if they are z slices, say so with axes= (--axes), as in --axes {order}"
            first = ", ".join("0" if other == name else ":" for other in names)
            raise InputError(
                f"{where} has {n} {what} (axes {', '.join(names)}, shape {tuple(shape)}); one volume is "
                f"needed: save one of them alone, such as array[{first}] in Python (of ilastik's "
                f"probabilities, a label each){'' if 'z' in names else slices}"
            )
    z, y, x = (list(names).index(axis) if axis in names else ABSENT for axis in SPACE)
    return z, y, x


def _check_colour(shape: Sequence[int], where: str) -> None:
    """Refuse an array with the shape of a picture of 3 or 4 values per pixel, that names no axes."""
    long = [n for n in shape if n > 1]
    if len(long) == 3 and long[-1] in (3, 4) and min(long[:2]) >= _PICTURE_SIDE:
        raise InputError(
            f"{where} has shape {tuple(shape)}, that of a colour picture ({long[-1]} values per pixel); save "
            "grey values, or, if it is a volume, say so with axes= (--axes zyx)"
        )


def _by_length(shape: Sequence[int], where: str) -> Zyx:
    """The axes of an array that names none: those of length 1 drop out, leading ones first."""
    left = list(range(len(shape)))
    for order in (left[:], left[::-1]):
        for axis in order:
            if len(left) > 3 and shape[axis] == 1 and axis in (left[0], left[-1]):
                left.remove(axis)
    for axis in left[:]:
        if len(left) > 3 and shape[axis] == 1:
            left.remove(axis)
    if len(left) == 2:
        left.insert(0, ABSENT)
    if len(left) != 3:
        raise InputError(
            f"{where} has shape {tuple(shape)}; one volume of shape (z, y, x) is needed: "
            "save one channel and one time point of it as a 3-D array"
        )
    return left[0], left[1], left[2]
