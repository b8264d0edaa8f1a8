"""A label image for neuroglancer sites: volume, meshes and segment properties in one folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.ops.meshes import surface
from chunkflow_liver.ops.steps.objects import bounding_boxes
from chunkflow_liver.reports.pictures.samples import levels_of
from chunkflow_liver.store.exports.precomputed import Mesh, write_precomputed
from chunkflow_liver.store.exports.tables import segment_properties
from chunkflow_liver.store.table import read_table
from chunkflow_liver.store.volume import Volume


def publish(image: Volume, to: Path, *, table: Path | None = None, meshes: Sequence[int] | None = ()) -> Path:
    """Write an image as a sharded precomputed volume.

    Parameters
    ----------
    image : Volume
    to : Path
        Folder to make.
    table : Path, optional
        Table of these instances: becomes their segment properties.
    meshes : sequence of int, optional
        Ids of objects that get a mesh, in two files each; None for all of the table, which needs bounding
        boxes (features 'basic').

    Raises
    ------
    InputError, OutputError, ConfigError
        As `write_precomputed`, if the table lacks what is needed, and if meshes are wanted without one.
    """
    wanted = meshes is None or len(meshes) > 0
    if wanted and table is None:
        raise ConfigError(
            f"meshes of {image.url} need the table that says where its objects lie (features 'basic'): "
            "give it (--table)"
        )
    levels = levels_of(image)
    found = read_table(table) if table is not None else None
    properties = None if found is None else segment_properties(found, str(table))
    made: Iterator[Mesh] = iter(())
    if wanted and table is not None:
        made = _meshes(levels[0], table, meshes)
    return write_precomputed(levels, to, meshes=made, properties=properties)


def _meshes(image: Volume, table: Path, ids: Sequence[int] | None) -> Iterator[Mesh]:
    corner = np.array(image.origin_nm) - np.array(image.voxel_nm) / 2
    for label, box in bounding_boxes(table, ids).items():
        vertices, faces = surface(image, label, box)
        yield label, vertices - corner[::-1], faces
