"""Images as sharded neuroglancer precomputed volumes, through tensorstore; labels with meshes and a table."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError, InputError, install
from chunkflow_liver.geometry import Box, zyx
from chunkflow_liver.store.exports.images import finished, free
from chunkflow_liver.store.volume import Volume

SIDE = 64
"""Voxels along the side of a chunk."""
SHARD_BITS_BELOW = 6
"""A shard has 2^6 chunks, 256^3 voxels where no axis is short: that much is held at once."""
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32")
Mesh = tuple[int, np.ndarray[Any, Any], np.ndarray[Any, Any]]


def write_precomputed(
    levels: Sequence[Volume],
    to: Path,
    *,
    meshes: Iterable[Mesh] = (),
    properties: Mapping[str, Any] | None = None,
) -> Path:
    """Write all levels of an image as one sharded volume and return its folder.

    Parameters
    ----------
    levels : sequence of Volume
        From fine to coarse.
    to : Path
        Folder to make.
    meshes : iterable of (id, vertices, faces)
        Of labels: vertices along (x, y, z) in nm from the volume's first corner.
    properties : mapping, optional
        Of labels: the document of their segment properties.

    Raises
    ------
    OutputError
        If the folder exists or cannot be written.
    ConfigError
        If tensorstore is not installed.
    InputError
        If the format has no such type of voxels, or levels are not in whole steps.

    Notes
    -----
    Places are measured from the volume's first corner, as in tables; the origin of the image is not kept,
    because the format counts whole voxels. Labels are compressed segmentations of 32 or 64
    bits; shards are packed with gzip.

    References
    ----------
    github.com/google/neuroglancer, src/datasource/precomputed/volume.md and sharded.md
    """
    first = levels[0]
    label = first.kind == "label"
    dtype = first.dtype
    if label:
        dtype = "uint64" if np.dtype(dtype).itemsize > 4 else "uint32"
    if dtype not in DTYPES:
        raise InputError(f"{first.url} holds {dtype} voxels, and a precomputed volume one of {list(DTYPES)}")
    with finished(free(to)) as partial:
        partial.mkdir()
        for index, level in enumerate(levels):
            _write_level(level, partial, index, dtype, label)
        info = json.loads((partial / "info").read_text())
        if properties is not None:
            (partial / "segment_properties").mkdir()
            (partial / "segment_properties" / "info").write_text(json.dumps(properties, allow_nan=False))
            info["segment_properties"] = "segment_properties"
        for number, vertices, faces in meshes:
            if "mesh" not in info:
                (partial / "mesh").mkdir()
                (partial / "mesh" / "info").write_text(json.dumps({"@type": "neuroglancer_legacy_mesh"}))
                info["mesh"] = "mesh"
            (partial / "mesh" / f"{number}:0").write_text(json.dumps({"fragments": [f"{number}.fragment"]}))
            (partial / "mesh" / f"{number}.fragment").write_bytes(mesh_bytes(vertices, faces))
        (partial / "info").write_text(json.dumps(info))
    return to


def mesh_bytes(vertices: np.ndarray[Any, Any], faces: np.ndarray[Any, Any]) -> bytes:
    """A mesh in one piece: number of vertices, vertices as float32, triangles as uint32."""
    return (
        np.uint32(len(vertices)).tobytes() + vertices.astype("<f4").tobytes() + faces.astype("<u4").tobytes()
    )


def _write_level(level: Volume, to: Path, index: int, dtype: str, label: bool) -> None:
    """One scale, shard by shard."""
    try:
        import tensorstore as ts
    except ImportError as err:
        raise ConfigError(f"precomputed volumes need 'tensorstore'; {install('tensorstore')}") from err
    counts = [-(-n // SIDE) for n in level.shape]
    bits = sum(max(0, math.ceil(math.log2(n))) if n > 1 else 0 for n in counts)
    below = min(SHARD_BITS_BELOW, bits)
    scale: dict[str, Any] = {
        "resolution": [float(v) for v in reversed(level.voxel_nm)],
        "size": list(reversed(level.shape)),
        "voxel_offset": [0, 0, 0],
        "chunk_size": [SIDE] * 3,
        "key": str(index),
        "encoding": "compressed_segmentation" if label else "raw",
        "sharding": {
            "@type": "neuroglancer_uint64_sharded_v1",
            "hash": "identity",
            "preshift_bits": below // 2,
            "minishard_bits": below - below // 2,
            "shard_bits": bits - below,
            "minishard_index_encoding": "gzip",
            "data_encoding": "gzip",
        },
    }
    if label:
        scale["compressed_segmentation_block_size"] = [8, 8, 8]
    store = ts.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{to}/"},
            "multiscale_metadata": {
                "type": "segmentation" if label else "image",
                "data_type": dtype,
                "num_channels": 1,
            },
            "scale_metadata": scale,
            "create": True,
        }
    ).result()
    written: Any = store.chunk_layout.write_chunk.shape
    unit = [int(n) for n in written[:3]][::-1]
    spans = [range(0, n, u) for n, u in zip(level.shape, unit, strict=True)]
    for corner in itertools.product(*spans):
        stop = [min(a + u, n) for a, u, n in zip(corner, unit, level.shape, strict=True)]
        box = Box(zyx(corner), zyx(stop))
        z, y, x = box.slices
        # One transaction for a shard: in parts it would be written anew with each.
        with ts.Transaction() as one:
            store.with_transaction(one)[x, y, z, 0] = level.read(box).astype(dtype, copy=False).T
