"""Meshes of single instances, each read box by box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from chunkflow_liver.errors import ConfigError, InputError, OutputError
from chunkflow_liver.geometry import BlockGrid, Box, Nm, Zyx, zyx
from chunkflow_liver.kernels.shape.triangles import box_triangles, join_triangles
from chunkflow_liver.ops.steps.objects import bounding_boxes
from chunkflow_liver.ops.steps.place import PathLike, checked_labels
from chunkflow_liver.parameters import documented
from chunkflow_liver.store.exports.meshes import ENDINGS, write_mesh
from chunkflow_liver.store.table import Table
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array


class Labels(Protocol):
    """What a surface is taken of: a `Volume`, or labels that are made as they are read."""

    @property
    def url(self) -> str: ...
    @property
    def voxel_nm(self) -> Nm: ...
    @property
    def origin_nm(self) -> Nm: ...
    def read(self, box: Box) -> Array: ...


SIDE: Zyx = (128, 128, 128)
"""Cells of a box that is read at once."""


@documented
def export_mesh(
    instances: Volume,
    table: Table | PathLike,
    to: PathLike,
    *,
    ids: Sequence[int] | None = None,
    ending: str = ".ply",
) -> list[Path]:
    """Write the surfaces of instances as meshes in nm and return their paths.

    Parameters
    ----------
    instances : Volume
        Labels.
    {mesh_table}
    {mesh_to}
    {ids}
    {ending}

    Raises
    ------
    InputError
        If the table lacks an instance or the columns, or the instance has no voxels where the table
        says.
    ConfigError
        If the ending is not known, or `ids` is empty.
    OutputError
        If a file exists.

    Notes
    -----
    Coordinates are those of the image (x, y, z), its origin included. Every mesh is closed. Memory: a box of
    128^3 voxels and the mesh, about 150 bytes per triangle.
    """
    if ending not in ENDINGS:
        raise ConfigError(f"no meshes of kind {ending!r}; there are {list(ENDINGS)}")
    if ids is not None and not len(ids):
        raise ConfigError("give the ids of the instances to export as meshes")
    instances = checked_labels(instances, "instances")
    boxes = bounding_boxes(table, ids)
    folder = Path(to)
    paths = [folder / f"{label}{ending}" for label in boxes]
    there = [path for path in paths if path.exists()]
    if there:
        raise OutputError(f"{there[0]} exists; delete it, or write to another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for path, (label, box) in zip(paths, boxes.items(), strict=True):
        write_mesh(path, *surface(instances, label, box))
    return paths


def surface(instances: Labels, label: int, box: Box) -> tuple[Array, Array]:
    """The closed surface of one object.

    Parameters
    ----------
    instances : Labels
    label : int
    box : Box
        Voxels in which all of it lies.

    Returns
    -------
    vertices : ndarray of shape (V, 3), float64
        Positions along (x, y, z), in nm, the image's origin included.
    faces : ndarray of shape (T, 3), integer
        Rows of `vertices`, counterclockwise seen from outside.

    Raises
    ------
    InputError
        If the object has no voxels in `box`.
    """
    halves, faces = join_triangles(_triangles(instances, label, box))
    if not len(faces):
        raise InputError(
            f"{instances.url} has no voxels of instance {label} at {box}, where the table has it: "
            "take the table that was measured on this image"
        )
    size, origin = np.array(instances.voxel_nm), np.array(instances.origin_nm)
    return (origin + halves * (size / 2))[:, ::-1], faces


def _triangles(instances: Labels, label: int, box: Box) -> Iterator[Array]:
    """The triangles of an object, box by box of its cells."""
    # A cell lies between a voxel and the next: one more than voxels, from one before the first.
    for block in BlockGrid(Box(zyx([n - 1 for n in box.start]), box.stop), SIDE):
        wanted = block.write.grow((0, 0, 0), (1, 1, 1))
        seen = wanted.clip(box)
        mask = np.zeros(wanted.shape, bool)
        mask[seen.relative_to(wanted).slices] = instances.read(seen) == label
        yield box_triangles(mask, wanted.start)
