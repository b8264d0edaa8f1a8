"""Columns of objects at one scale: signs, means, standard deviations, and what is missing or far out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.xp import Array

SHAPE = (
    "shape_Elongation",
    "shape_Flatness",
    "shape_LeastAxisLength",
    "shape_MajorAxisLength",
    "shape_Maximum2DDiameterColumn",
    "shape_Maximum2DDiameterRow",
    "shape_Maximum2DDiameterSlice",
    "shape_Maximum3DDiameter",
    "shape_MeshVolume",
    "shape_MinorAxisLength",
    "shape_Sphericity",
    "shape_SurfaceArea",
    "shape_SurfaceVolumeRatio",
    "shape_VoxelVolume",
)
"""The 14 shape features of the liver study, as `measure` names them."""
NEGATED = ("shape_Elongation", "shape_Flatness")
"""Features that are 1 for a round object and 0 for a thin one: negated, more of each is more elongated."""


@dataclass(frozen=True)
class Standard:
    """How columns become numbers of mean 0 and standard deviation 1.

    Attributes
    ----------
    names : tuple of str
        The columns, f of them.
    sign : ndarray of shape (f,), float64
        -1 for a column that is negated, else 1.
    mean, sd : ndarray of shape (f,), float64
        Of the signed columns, over the objects that have all of them.
    """

    names: tuple[str, ...]
    sign: Array
    mean: Array
    sd: Array

    def scaled(self, values: Array) -> Array:
        """Columns (n, f) of the names as z-scores."""
        found: Array = (values * self.sign - self.mean) / self.sd
        return found


def fit_standard(names: tuple[str, ...], values: Array, negated: tuple[str, ...]) -> Standard:
    """Signs, means and standard deviations (of the population, n in the denominator).

    Parameters
    ----------
    names : tuple of str
    values : ndarray of shape (n, f), float64
        Rows without missing values.
    negated : tuple of str
        Columns whose sign is turned.

    Raises
    ------
    InputError
        If a column has one value only: it tells objects apart by nothing, and has no z-score.
    """
    sign = np.where(np.isin(names, negated), -1.0, 1.0)
    mean, sd = (values * sign).mean(0), values.std(0)
    # Rounding leaves a constant column a standard deviation of some last digits.
    flat = [n for n, s, m in zip(names, sd, mean, strict=True) if s <= 1e-12 * max(abs(m), 1e-300)]
    if flat:
        raise InputError(f"columns {flat} have the same value in every object; leave them out of 'columns'")
    return Standard(names, sign, mean, sd)


def far_out(scaled: Array, limit: float) -> Array:
    """Objects (n,) with any z-score beyond `limit`."""
    return np.asarray((np.abs(scaled) > limit).any(1))
