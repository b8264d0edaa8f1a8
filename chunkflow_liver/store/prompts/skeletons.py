"""Skeletons (SWC) to prompts: points of an object on slices in the middle of it, and how far it reaches."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box, Nm, Zyx
from chunkflow_liver.store.prompts.prompt import Faults, Prompt

UNITS = {"nm": 1.0, "um": 1000.0, "mm": 1e6}
FIELDS = 7
"""id, type, x, y, z, radius, parent."""

Node = tuple[float, float, float]


def prompts_from_skeletons(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    voxel_nm: Nm,
    shape: Zyx,
    unit: str = "um",
    scale: float = 1.0,
    slices: int = 1,
    kind: str = "",
) -> tuple[Prompt, ...]:
    """One object per skeleton: its nodes on slices are points, its first and last node its limits.

    Parameters
    ----------
    paths : path, or sequence of paths
        .swc files, or folders of them.
    voxel_nm : Nm
        Of the image.
    shape : Zyx
        Voxels of the image; nodes outside of it are refused.
    unit : {'nm', 'um', 'mm'}
        Of the coordinates.
    scale : float
        What they are multiplied with.
    slices : int
        On how many slices an object is prompted: those that hold nodes, spread evenly.
    kind : str
        What the objects are.

    Raises
    ------
    InputError
        If a file cannot be read; every bad line is told.
    """
    if unit not in UNITS:
        raise InputError(f"unit is one of {sorted(UNITS)}, got {unit!r}")
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(f"scale is a number above 0, got {scale!r}")
    if slices < 1:
        raise InputError(f"slices is 1 or more, got {slices}")
    files = _files([paths] if isinstance(paths, str | os.PathLike) else paths)
    factor = UNITS[unit] * scale
    found = []
    for file in files:
        nodes = [(z * factor, y * factor, x * factor) for z, y, x in read_swc(file)]
        _check_inside(file, nodes, voxel_nm, shape)
        found += _prompts(file.stem, kind, nodes, voxel_nm, slices)
    return tuple(found)


def read_swc(path: str | os.PathLike[str]) -> list[Node]:
    """The nodes (z, y, x) of a skeleton, in the file's unit.

    Raises
    ------
    InputError
        With every bad line.
    """
    faults = Faults(os.fspath(path))
    nodes = []
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(f"{path} cannot be read: {err}") from err
    for number, text in enumerate(lines, 1):
        fields = text.partition("#")[0].replace(",", " ").split()
        if not fields:
            continue
        if len(fields) < FIELDS:
            faults.add(f"line {number}", f"{len(fields)} fields; wanted id type x y z radius parent")
            continue
        try:
            x, y, z = (float(v) for v in fields[2:5])
        except ValueError:
            faults.add(f"line {number}", f"{fields[2:5]} are no three numbers")
            continue
        if not all(map(math.isfinite, (x, y, z))):
            faults.add(f"line {number}", "a coordinate is not finite")
            continue
        nodes.append((z, y, x))
    if not nodes and not faults.texts:
        faults.add("the file", "holds no node")
    faults.tell()
    return nodes


def _files(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        found = sorted(path.glob("*.swc")) if path.is_dir() else [path]
        if not found or not found[0].is_file():
            raise InputError(f"there is no skeleton at {path}; wanted a .swc file or a folder of them")
        files += found
    names = [file.stem for file in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"several skeletons are called {twice[:5]}; an object's name is its file's, rename them"
        )
    return files


def _check_inside(file: Path, nodes: Sequence[Node], voxel_nm: Nm, shape: Zyx) -> None:
    ends = [n * v for n, v in zip(shape, voxel_nm, strict=True)]
    lost = [node for node in nodes if not all(0 <= v < end for v, end in zip(node, ends, strict=True))]
    if lost:
        raise InputError(
            f"{file}: {len(lost)} of {len(nodes)} nodes lie outside the image, the first at "
            f"{tuple(round(v) for v in lost[0])} nm (z, y, x), and the image {Box.of(shape)} ends at "
            f"{tuple(round(v) for v in ends)} nm; is the unit right, or the scale?"
        )


def _prompts(name: str, kind: str, nodes: Sequence[Node], voxel_nm: Nm, slices: int) -> list[Prompt]:
    held: dict[int, list[Node]] = {}
    for node in nodes:
        held.setdefault(math.floor(node[0] / voxel_nm[0]), []).append(node)
    there = sorted(held)
    count = min(slices, len(there))
    chosen = [there[(2 * i + 1) * len(there) // (2 * count)] for i in range(count)]
    start, end = ((z + 0.5) * voxel_nm[0] for z in (there[0], there[-1]))
    return [
        Prompt(
            name,
            (z + 0.5) * voxel_nm[0],
            kind,
            start,
            end,
            points_nm=tuple((y, x, True) for _, y, x in held[z]),
        )
        for z in chosen
    ]
