"""Marching cubes as a count of 2 x 2 x 2 cells: surface and volume of any label without a mesh in memory."""

from __future__ import annotations

from functools import cache

import numpy as np

from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.kernels.labels.object_runs import ObjectRuns
from chunkflow_liver.kernels.rows import Rows
from chunkflow_liver.xp import Array

CORNERS = ((0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0), (1, 0, 0), (1, 0, 1), (1, 1, 1), (1, 1, 0))
"""Offset (z, y, x) of the corner that each bit of a code stands for."""

CODES = 256

_EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))
# The edges (base 12) that the triangles of codes 0 to 127 connect; code 255 - c has those of c, inside out.
_TRIANGLES = """
- 083 190 183198 12a 08312a 92a029 2832a8a98 b23 b2008b 190b23 b2119b98b 3a1ba3 a1008a8ba 9033b9ba9
98aba8 478 043473 190478 194147173 12a478 34730412a 92a902478 2a9297273479 478b23 b47b24204
190478b23 47b94bb29192 3a1ba3478 ba114b10447b 4789033b9ba9 47b4b99ba 954 954083 054015 854835315
12a954 08312a954 2a5542240 2a5325354834 954b23 b2008b954 054015b23 215258b28548 3a1ba3954
549a1008a8ba 54050ba5bb03 548a58ba8 789579 309539357 780017715 157173 78957912a 12a309395357
0288258572a5 2a5253357 579789b23 579972209b27 b23018178157 21b17b157 7895793a1ba3 5705097b0a10ba0
ba003ba50078570 ba557b 65a 08365a 19065a 18319865a 165126 165126083 965906026 598582526832 b2365a
b2008b65a 190b2365a b2119b98b65a 63b653513 08b0b50515b6 63b036065059 65969bb98 47865a 04347365a
19047865a 19414717365a 478165126 043473165126 478965906026 739479329596269 b2347865a b47b2420465a
190b2347865a 47b94bb2919265a 47863b653513 51b5b610b47b04b 47863b036065059 65969b4797b9 a4964a
a4964a083 01aa60640 18316886461a 149124264 149124264083 024426 832824426 b23a4964a b2008ba4964a
b2301aa60640 64161a148b2118b 964369139b63 18b081b61149641 63b036640 86468b 67a78a89a 67a0a709a073
67a1a7178018 67a1a7173 126168189678 269129679309739 078706602 273267 b2367a78a89a 207b2709767a9a7
67a1a7178018b23 b2117ba61167 896678169b63136 09167b 07870603bb60 67b
"""


def cell_sums(runs: ObjectRuns, *, low: Zyx, owned: Zyx, origin: Zyx) -> tuple[Rows, Rows]:
    """The cells that are not uniform, counted for every object, and the volume under them.

    Parameters
    ----------
    runs : ObjectRuns
        Of a block and of one voxel after it on each axis, where the volume has one.
    low : Zyx
        1 on axes where the block begins with the volume, and cells lie before its first voxel; else 0.
    owned : Zyx
        Voxels of the block along each axis: as many cells begin with one of them.
    origin : Zyx
        First voxel of the block in the volume.

    Returns
    -------
    cells : dict of ndarray of shape (C,)
        `label` (uint64), `code` (uint8; bit i is set where corner `CORNERS[i]` has the label) and `count`
        (int64), sorted by label and code.
    volumes : dict of ndarray of shape (L,)
        `label`; `half_voxels` (int64; 48 times the volume, see `volumes`, seen from the volume's first
        voxel); `open_z`, `open_y`, `open_x` (int64; what it would have more for one voxel along an axis,
        0 where the mesh is closed) of the objects that have such cells.

    Notes
    -----
    Between the ends of runs cells are alike: the cost follows the number of runs, not that of voxels.
    """
    from chunkflow_liver.kernels.shape.mesh_loops import count_cells

    frame = np.array([[runs.height] * 3, [-n for n in low], owned, origin], np.int64)
    volume, vector = volumes()
    adds = np.concatenate([volume[:, None], 2 * vector], axis=1)
    of, code, count, totals = count_cells(runs.begin, runs.row, runs.ends, frame, _sides(), adds)
    some = np.bincount(of, minlength=len(runs.label)) > 0
    names = ("half_voxels", "open_z", "open_y", "open_x")
    cells = {"label": runs.label[of], "code": code, "count": count}
    return cells, {"label": runs.label[some], **dict(zip(names, totals[:, some], strict=True))}


def areas(voxel_nm: Nm) -> Array:
    """Surface in one cell of every code, in nm^2.

    Parameters
    ----------
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.

    Returns
    -------
    ndarray of shape (256,), float64
        The triangles of Lorensen and Cline with vertices halfway along the edges, in the very
        division into triangles that PyRadiomics uses [1]_; the area of an object is the sum over its cells.

    References
    ----------
    .. [1] van Griethuysen et al., PyRadiomics, doi:10.1158/0008-5472.CAN-17-0339, src/cshape.c;
       Lorensen and Cline, Marching Cubes, SIGGRAPH 1987, doi:10.1145/37401.37422
    """
    code = np.repeat(np.arange(CODES), [len(corners) for corners in triangles()])
    a, b, c = np.moveaxis(np.concatenate(triangles()) * (np.array(voxel_nm) / 2), 1, 0)
    area = np.sqrt((np.cross(a - c, b - c) ** 2).sum(-1)) / 2
    return np.bincount(code, area, minlength=CODES)


@cache
def triangles() -> tuple[Array, ...]:
    """Triangles of every code: int64 of shape (T, 3, 3), (z, y, x) of three vertices in half voxels.

    Seen from outside the mask the vertices run the same way round in every triangle.
    """
    middles = np.array([np.add(CORNERS[a], CORNERS[b]) for a, b in _EDGES], np.int64)
    below = []
    for word in _TRIANGLES.split():
        edges = [int(e, 12) for e in word if e != "-"]
        below.append(middles[np.array(edges, np.int64).reshape(-1, 3)])
    return (*below, *(corners[:, ::-1] for corners in reversed(below)))


@cache
def volumes() -> tuple[Array, Array]:
    """What a cell adds to the volume under the mesh, for every code.

    Returns
    -------
    volume : ndarray of shape (256,), int64
        Sum over the triangles of det(a, b, c), from the cell's first corner.
    vector : ndarray of shape (256, 3), int64
        Sum of a x b + b x c + c x a: a cell at voxel o adds `volume + 2 o . vector` from the origin.

    Notes
    -----
    In half voxels: the sum over an object is 48 times its volume in voxels. It does not depend on the
    origin where the mesh is closed. The original table leaves holes between some neighbours, so
    that, as in PyRadiomics, the origin then matters: state it.
    """
    volume, vector = np.zeros(CODES, np.int64), np.zeros((CODES, 3), np.int64)
    for code, corners in enumerate(triangles()):
        a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
        volume[code] = (np.cross(a, b) * c).sum()
        vector[code] = (np.cross(a, b) + np.cross(b, c) + np.cross(c, a)).sum(0)
    return volume, vector


@cache
def _sides() -> Array:
    """Bits of a code for voxels at a cell's x, and at x + 1, of any of its four rows: see `count_cells`."""
    rows, sides = np.arange(16), np.zeros((2, 16), np.int64)
    for bit, (z, y, x) in enumerate(CORNERS):
        sides[x] |= (rows >> (2 * z + y) & 1) << bit
    return sides
