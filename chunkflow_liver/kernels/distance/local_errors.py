"""How sure boundaries are where they lie: from the fall of scores across them, and from several networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Nm, Zyx, zyx
from chunkflow_liver.kernels.rows import Rows, grouped
from chunkflow_liver.xp import Array

SUREST = 0.002
"""Scores nearer to 0 and 1 say no more than that: of 8 bits they are a step and less."""
LEVELS = 1 << 16
"""Steps of the square of the largest error, in which squares are added."""
EVERY = 8
"""Of so many surface voxels one says how sure the boundary is, where there are many."""


@dataclass(frozen=True, eq=False)
class Image:
    """What one network says of a block.

    Attributes
    ----------
    codes : ndarray of shape (Z, Y, X), uint8 or uint16
        From 0 to the largest of the type.
    scores : bool
        Whether they are scores, whose fall says how sure the network is; else labels, yes or no.
    """

    codes: Array
    scores: bool

    @classmethod
    def of_scores(cls, scores: Array, name: str) -> Image:
        """Scores of 0 to 1, or in whole numbers to the largest of their type.

        Raises
        ------
        InputError
            If one is not from 0 to 1.
        """
        if scores.dtype.kind == "f":
            if not ((scores >= 0) & (scores <= 1)).all():
                raise InputError(
                    f"scores of {name} are {np.min(scores)} to {np.max(scores)}, where 0 to 1 are wanted; "
                    "give probabilities, not logits or distances"
                )
            scores = np.rint(np.float32(65535) * scores).astype(np.uint16)
        elif scores.dtype.itemsize > 2:
            scores = (scores >> np.uint8(8 * (scores.dtype.itemsize - 2))).astype(np.uint16)
        return cls(np.ascontiguousarray(scores), True)

    @classmethod
    def of_mask(cls, mask: Array) -> Image:
        """Where a network sees the class."""
        return cls(np.ascontiguousarray(mask).view(np.uint8) * np.uint8(255), False)

    def within(self, part: tuple[slice, ...]) -> Image:
        """The same of some of the voxels."""
        return replace(self, codes=np.ascontiguousarray(self.codes[part]))


@dataclass(frozen=True, eq=False)
class Stack:
    """Several images as compiled loops take them.

    Attributes
    ----------
    codes : ndarray of shape (N, Z, Y, X), uint8 or uint16, C-contiguous
    table : ndarray, float64
        Quantile of the normal distribution for each code.
    scores : ndarray of shape (N,), bool
        Which are scores.
    """

    codes: Array
    table: Array
    scores: Array

    @classmethod
    def of(cls, images: Sequence[Image]) -> Stack:
        """One array of all; a single image is not copied."""
        from scipy.special import ndtri

        kind = np.uint8 if all(image.codes.dtype == np.uint8 for image in images) else np.uint16
        scale = int(np.iinfo(kind).max)
        parts = [
            image.codes if image.codes.dtype == kind else np.multiply(image.codes, 257, dtype=kind)
            for image in images
        ]
        table = ndtri(np.clip(np.arange(scale + 1) / scale, SUREST, 1 - SUREST))
        codes = parts[0][None] if len(parts) == 1 else np.stack(parts)
        return cls(codes, np.asarray(table), np.array([image.scores for image in images]))


def reach_voxels(cap_nm: float, voxel_nm: Nm) -> Zyx:
    """Voxels along (z, y, x) that `local_errors` looks at, around the surface, for errors up to `cap_nm`.

    Faces that are followed lie across the axis nearest to the normal, so that a way along the axis is at
    most 3^0.5 times that along the normal.
    """
    from chunkflow_liver.kernels.distance.score_loops import LONGEST

    return zyx([min(math.ceil(2 * math.sqrt(3) * cap_nm / size) + 1, LONGEST) for size in voxel_nm])


def local_errors(
    labels: Array, at: Array, images: Sequence[Image] | Stack, voxel_nm: Nm, cap_nm: float
) -> tuple[Array, Array, Array]:
    """How sure the boundary is at some surface voxels.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X), integer
        Objects, 0 is background; with a halo of `reach_voxels` around the voxels, cut only by the volume's
        border. Voxels of which nothing is known have a label of their own.
    at : ndarray of shape (3, M), int64
        Surface voxels.
    images : sequence of Image, or Stack
        Of the class of the objects, on the same voxels: one of scores, or several networks.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    cap_nm : float
        Larger errors count as this.

    Returns
    -------
    weight, squares, capped : ndarray of shape (M,), int64
        Surface of each voxel that says how sure it is (0 where none does), the sum of its squared errors, in
        cap_nm**2 / `LEVELS`, and how much of it was capped.

    Notes
    -----
    Of one image: a score that rises as a normal distribution of the depth under the boundary says how far
    off the boundary may be: its standard deviation is half the way from where the score is 0.84 to
    where it is 0.16. The way is taken along the axis nearest to the normal of the boundary, between voxels
    linear in the score's normal quantile, times the cosine between both, from the fall of the quantile at
    the face; exact for a plane in any direction and voxels of any shape. Faces count that lie between an
    object and background, across the axis nearest to the normal, which covers the surface once; where the
    score does not fall through 0.5 within the reach it draws no boundary, and says nothing. Where one of
    the two sides ends before (an object thinner than its boundary is unsure, another object beyond) the other
    one counts.

    Of n images: the variance is that of a further network about the mean of these, (1 + 1/n) times the sample
    variance of where their boundaries lie, and the mean of what their scores say each of its own (the law of
    total variance; deep ensembles [1]_). Where a boundary lies is taken along the same ways.

    References
    ----------
    .. [1] Lakshminarayanan, Pritzel and Blundell, Simple and scalable predictive uncertainty estimation using
       deep ensembles, NeurIPS 2017
    """
    from chunkflow_liver.kernels.distance.score_loops import errors_at

    stack = images if isinstance(images, Stack) else Stack.of(images)
    sums = np.zeros((3, at.shape[1]), np.int64)
    errors_at(
        np.ascontiguousarray(labels),
        (stack.codes, stack.table, stack.scores),
        np.ascontiguousarray(at),
        np.array(voxel_nm, np.float64),
        np.array(reach_voxels(cap_nm, voxel_nm)),
        float(cap_nm),
        LEVELS,
        sums,
    )
    return sums[0], sums[1], sums[2]


def sampled(at: Array, start: Zyx) -> Array:
    """One of `EVERY` voxels, as if by chance, and the same ones whatever the block.

    Parameters
    ----------
    at : ndarray of shape (3, M), int64
        Voxels of a block whose first is `start` of the volume.

    Returns
    -------
    ndarray of shape (M,), bool
    """
    from chunkflow_liver.kernels.distance.score_loops import mark_some

    found = np.empty(at.shape[1], bool)
    mark_some(at, np.array(start, np.int64), EVERY, found)
    return found


def error_rows(keys: Rows, sums: tuple[Array, Array, Array]) -> Rows:
    """Sums of `local_errors` over voxels with equal keys: `weight`, `squares`, `capped`."""
    kept = sums[0] > 0
    columns = {name: values[kept] for name, values in keys.items()}
    columns |= {
        name: values[kept] for name, values in zip(("weight", "squares", "capped"), sums, strict=True)
    }
    return grouped(columns, tuple(keys))


def no_errors(*keys: str) -> Rows:
    """No rows."""
    none: Rows = {name: np.zeros(0, np.uint64) for name in keys}
    return none | {name: np.zeros(0, np.int64) for name in ("weight", "squares", "capped")}


def errors_nm(rows: Rows, cap_nm: float) -> Array:
    """Root mean square of the boundary's error of each row, in nm."""
    some = np.maximum(rows["weight"], 1)
    return np.where(rows["weight"] > 0, np.sqrt(rows["squares"] / some / LEVELS) * cap_nm, np.nan)
