"""Surfaces of objects for neuroglancer, made as they are asked for; with the edits that wait."""

from __future__ import annotations

import json

from chunkflow_liver.geometry import Box
from chunkflow_liver.ops.edit.lists import whole_number
from chunkflow_liver.ops.meshes import surface
from chunkflow_liver.store.exports.precomputed import mesh_bytes
from chunkflow_liver.view.contents import Contents, Image
from chunkflow_liver.view.edits import Proofreading
from chunkflow_liver.view.virtual import Virtual

MESH_VOXELS = 1 << 22
"""Voxels of the box of an object whose surface is made; larger objects take a coarser level."""


def mesh(
    now: Contents, image: Image, key: str, proofreading: Proofreading, edited: Virtual | None
) -> bytes | None:
    """Neuroglancer's mesh of an object in one piece: its list of pieces, or vertices and triangles.

    Parameters
    ----------
    now : Contents
    image : Image
    key : str
        Of the document that is asked for.
    proofreading : Proofreading
    edited : Virtual, optional
        The image with the edits that wait, if there are any.

    Raises
    ------
    InputError
        If there is no such object, or none any more.
    """
    if key == "info":
        return json.dumps({"@type": "neuroglancer_legacy_mesh"}).encode()
    first, _, rest = key.partition(":")
    label = whole_number(first)
    if label is None:
        return None
    if rest == "0":
        return json.dumps({"fragments": [str(label)]}).encode()
    box = now.box_of(image.name, label) if edited is None else proofreading.box_of(now, image.name, label)
    number, there = _level(image, box)
    source = image.levels[number] if edited is None else edited.at(number)
    return mesh_bytes(*surface(source, label, there))


def _level(image: Image, box: Box) -> tuple[int, Box]:
    """The finest level at which a box is small enough, or the coarsest, and the box there."""
    boxes = [box.coarser(level.reduction).clip(level.box) for level in image.levels]
    number = next((i for i, there in enumerate(boxes) if there.size <= MESH_VOXELS), len(boxes) - 1)
    return number, boxes[number]
