"""Objects in two along their pieces, however large: what each block tells, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Block, Nm
from chunkflow_liver.kernels.instances.cleaving import FACES, PAIR, merge_faces, second_side, shared_faces
from chunkflow_liver.kernels.instances.edits import Cleft, Step, apply_steps
from chunkflow_liver.ops.edit.lists import Edit
from chunkflow_liver.ops.edit.places import nearest_inside, place_text
from chunkflow_liver.xp import Array


def looked_at(
    block: Block, labels: Array, pieces: Array, nm: Nm, edit: Edit, label: int, before: Sequence[Step]
) -> dict[str, Array]:
    """What a block tells of an object that is cleft.

    Parameters
    ----------
    block : Block
        With a halo of one voxel at its far sides.
    labels, pieces : ndarray of the shape of its read box
    nm : tuple of float
        Voxel size along (z, y, x).
    edit : Edit
    label : int
        The id of the object after the steps before.
    before : sequence of Step

    Returns
    -------
    dict of ndarray
        Faces between pieces (`shared_faces`), and of both points the nearest voxel of the object: its squared
        distance in nm^2 (`far`, infinite without any), where it is (`at`) and its piece (`piece`).
    """
    wide = labels.astype(np.uint64)
    mask = apply_steps(wide, block.read.start, (1, 1, 1), before, pieces) == np.uint64(label)
    record = shared_faces(pieces, mask, block.write.shape)
    far, at, piece = np.full(2, np.inf), np.zeros((2, 3), np.int64), np.zeros(2, np.uint64)
    for k in (0, 1):
        found = nearest_inside(mask[block.trim], block.write.start, nm, edit.points[3 * k : 3 * k + 3])
        if found is not None:
            far[k], at[k] = found
            piece[k] = pieces[tuple(i - a for i, a in zip(found[1], block.read.start, strict=True))]
    return {**record, "far": far, "at": at, "piece": piece}


def cleft(records: Iterable[Mapping[str, Array]], nm: Nm, edit: Edit, label: int) -> Cleft:
    """An object in two, from what all its blocks tell.

    Raises
    ------
    InputError
        If a point is not in the object or in no piece, or both are in one piece.
    """
    kept: list[dict[str, Array]] = []
    points: list[Mapping[str, Array]] = []
    for record in records:
        kept.append({k: record[k] for k in (*PAIR, *FACES)})
        if np.isfinite(record["far"]).any():
            points.append({k: record[k] for k in ("far", "at", "piece")})
    first, second = (_end(points, k, edit, label) for k in (0, 1))
    if first == second:
        raise InputError(
            f"both points in object {label} are in its piece {first}, and pieces stay whole: set them in "
            "different pieces, or use 'cut'"
        )
    return Cleft(label, edit.other, second_side(merge_faces(kept), first, second, nm))


def _end(points: Sequence[Mapping[str, Array]], k: int, edit: Edit, label: int) -> int:
    """The piece at a point."""
    found = [(float(p["far"][k]), *p["at"][k].tolist(), int(p["piece"][k])) for p in points]
    best = min((f for f in found if np.isfinite(f[0])), default=None)
    point = place_text(edit.points[3 * k : 3 * k + 3])
    if best is None:
        raise InputError(f"the point {point} is not in object {label}: click on it")
    if best[-1] == 0:
        raise InputError(
            f"the point {point} in object {label} is in no piece: the image of pieces is 0 there; set it in "
            "one"
        )
    return int(best[-1])
