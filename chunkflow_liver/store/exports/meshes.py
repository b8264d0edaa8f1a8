"""Triangle meshes as PLY and OBJ files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.store.exports.images import finished, free

ENDINGS = (".ply", ".obj")


def write_mesh(path: Path, vertices: np.ndarray[Any, Any], faces: np.ndarray[Any, Any]) -> Path:
    """Write a mesh and return its path; the ending chooses the format.

    Parameters
    ----------
    path : Path
        `.ply` (binary) or `.obj` (text); must not exist.
    vertices : ndarray of shape (V, 3), float
        Positions along (x, y, z), in nm; stored as float32.
    faces : ndarray of shape (T, 3), integer
        Rows of `vertices`, counterclockwise seen from outside.

    Raises
    ------
    ConfigError
        If the ending is another, or PLY cannot count so many vertices.
    OutputError
        If the file exists.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(
            f"cannot write a mesh to {path.name!r}: the name must end in one of {list(ENDINGS)}"
        )
    if len(vertices) > np.iinfo(np.int32).max:
        raise ConfigError(f"a mesh of {len(vertices)} vertices is too large for {path.name!r}")
    points = np.asarray(vertices, "<f4").reshape(-1, 3)
    with finished(free(path)) as partial:
        if path.suffix.lower() == ".ply":
            rows = np.empty(len(faces), [("n", "u1"), ("v", "<i4", 3)])
            rows["n"], rows["v"] = 3, faces
            partial.write_bytes(_header(len(points), len(faces)) + points.tobytes() + rows.tobytes())
        else:
            with partial.open("w") as file:
                file.write("# chunkflow_liver, nanometer, x y z\n")
                np.savetxt(file, points, "v %.9g %.9g %.9g")
                np.savetxt(file, np.asarray(faces) + 1, "f %d %d %d")
    return path


def _header(vertices: int, faces: int) -> bytes:
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        "comment chunkflow_liver, nanometer",
        f"element vertex {vertices}",
        *(f"property float {axis}" for axis in "xyz"),
        f"element face {faces}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    return "\n".join(lines).encode()
