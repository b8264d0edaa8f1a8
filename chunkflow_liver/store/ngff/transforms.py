"""Coordinate transformations that keep voxels along the axes: scale, translation, order of axes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeGuard

CURVED = ("affine", "rotation", "displacements", "coordinates")
RESAMPLE = (
    "voxels must lie along the axes: resample the image in the program that made it, or convert the array "
    "of a level alone, as in chunkflow-liver convert IMAGE/0 NEW --voxel-nm Z Y X"
)


@dataclass(frozen=True)
class Aligned:
    """A transformation of axes to axes: output `i` is input `source[i]` times `scale[i]`, plus `shift[i]`."""

    source: tuple[int, ...]
    scale: tuple[float, ...]
    shift: tuple[float, ...]

    @classmethod
    def identity(cls, n: int) -> Aligned:
        return cls(tuple(range(n)), (1.0,) * n, (0.0,) * n)

    def then(self, after: Aligned) -> Aligned:
        """This transformation, and `after` on what it gives."""
        return Aligned(
            tuple(self.source[i] for i in after.source),
            tuple(a * self.scale[i] for a, i in zip(after.scale, after.source, strict=True)),
            tuple(
                a * self.shift[i] + b for a, b, i in zip(after.scale, after.shift, after.source, strict=True)
            ),
        )


def is_number(value: object) -> TypeGuard[float]:
    """Whether a JSON value is a number that a float can hold (or NaN, or infinite)."""
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**1000)


def flat(transforms: object, ndim: int, where: str, problems: list[str], *, scaled: bool = False) -> Aligned:
    """A 'coordinateTransformations' list as of 0.4 and 0.5: one scale, and after it perhaps one translation.

    `scaled` says that a scale may be left out, because the whole image has one.
    """
    found = Aligned.identity(ndim)
    if transforms is None:
        return found
    if not isinstance(transforms, list):
        problems.append(f"{where}: coordinateTransformations must be a list, got {transforms!r}")
        return found
    kinds: list[str] = []
    for transform in transforms:
        entry = transform if isinstance(transform, dict) else {}
        kind = entry.get("type")
        if kind not in ("scale", "translation"):
            problems.append(f"{where}: transformation {kind!r} is not supported; use scale and translation")
            return found
        kinds.append(kind)
        found = found.then(parse(entry, ndim, where, problems) or Aligned.identity(ndim))
    for kind in ("scale", "translation"):
        if kinds.count(kind) > 1:
            problems.append(f"{where}: {kinds.count(kind)} transformations are a {kind}; there may be one")
    if kinds[:1] == ["translation"] and "scale" in kinds:
        problems.append(f"{where}: translation before scale; the scale comes first")
    if "scale" not in kinds and not scaled:
        problems.append(f"{where} states no scale, so its voxel size is unknown")
    return found


def parse(transform: object, ndim: int, where: str, problems: list[str]) -> Aligned | None:
    """One transformation of `ndim` axes as of RFC 5; None, and a problem, where we cannot follow it."""
    entry: dict[str, Any] = transform if isinstance(transform, dict) else {}
    kind = entry.get("type")
    same = Aligned.identity(ndim)
    if kind == "identity":
        return same
    if kind in ("scale", "translation"):
        values = _numbers(entry.get(kind), ndim)
        if values is None:
            problems.append(f"{where}: {kind} must be {ndim} numbers, got {entry.get(kind)!r}")
            return None
        scale, shift = (values, same.shift) if kind == "scale" else (same.scale, values)
        return Aligned(same.source, scale, shift)
    if kind == "mapAxis":
        order = entry.get("mapAxis")
        if (
            not isinstance(order, list)
            or not all(type(i) is int for i in order)
            or sorted(order) != list(same.source)
        ):
            problems.append(
                f"{where}: mapAxis must be the numbers 0 to {ndim - 1} in some order, got {order!r}"
            )
            return None
        return Aligned(tuple(order), same.scale, same.shift)
    if kind == "bijection":
        return parse(entry.get("forward"), ndim, where, problems)
    if kind == "sequence":
        return _sequence(entry.get("transformations"), ndim, where, problems)
    if kind == "byDimension":
        return _by_dimension(entry.get("transformations"), ndim, where, problems)
    known = "scale, translation, identity, mapAxis, and sequences of them are"
    why = RESAMPLE if kind in CURVED else known
    problems.append(f"{where}: transformation {kind!r} is not supported; {why}")
    return None


def _numbers(values: object, n: int) -> tuple[float, ...] | None:
    if not isinstance(values, list) or len(values) != n or not all(map(is_number, values)):
        return None
    return tuple(float(v) for v in values)


def _sequence(parts: object, ndim: int, where: str, problems: list[str]) -> Aligned | None:
    if not isinstance(parts, list) or not parts:
        problems.append(f"{where}: a sequence must list transformations, got {parts!r}")
        return None
    found = Aligned.identity(ndim)
    for part in parts:
        step = parse(part, ndim, where, problems)
        if step is None:
            return None
        found = found.then(step)
    return found


def _by_dimension(parts: object, ndim: int, where: str, problems: list[str]) -> Aligned | None:
    source, scale, shift = [-1] * ndim, [math.nan] * ndim, [math.nan] * ndim
    for part in parts if isinstance(parts, list) else ():
        entry: dict[str, Any] = part if isinstance(part, dict) else {}
        # Drafts had other names, and the transformation beside them instead of inside.
        ins, outs = (entry.get(f"{k}Axes", entry.get(f"{k}_axes")) for k in ("input", "output"))
        if not all(
            isinstance(side, list) and all(type(i) is int and 0 <= i < ndim for i in side)
            for side in (ins, outs)
        ) or len(ins) != len(outs):  # type: ignore[arg-type]
            problems.append(f"{where}: byDimension must name as many axes to read as to make, got {part!r}")
            return None
        step = parse(entry.get("transformation", entry), len(ins), where, problems)  # type: ignore[arg-type]
        if step is None:
            return None
        for i, out in enumerate(outs):  # type: ignore[arg-type]
            source[out], scale[out], shift[out] = ins[step.source[i]], step.scale[i], step.shift[i]  # type: ignore[index]
    if sorted(source) != list(range(ndim)):
        problems.append(
            f"{where}: byDimension must make each of the {ndim} axes from another one, got {parts!r}"
        )
        return None
    return Aligned(tuple(source), tuple(scale), tuple(shift))
