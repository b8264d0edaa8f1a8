"""A population's model: scale, components, index and classes of form; and how stable the classes are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.kernels.populations.components import Components, fit_components
from chunkflow_liver.kernels.populations.index import Index, fit_index
from chunkflow_liver.kernels.populations.standard import NEGATED, Standard, far_out, fit_standard
from chunkflow_liver.xp import Array

FORMS = ("constricted-like", "intermediate", "elongated-like")
"""Classes of form, by ascending index of the first component."""
INDEXED = 2
"""Components that have an index."""


@dataclass(frozen=True)
class Forms:
    """How objects become scores and classes.

    Attributes
    ----------
    negated : tuple of str
        Columns whose sign is turned before all else.
    outlier_z : float
        Objects with any z-score beyond it are flagged, and left out of the components.
    low, high : float
        Index of the first component up to which an object is constricted-like, and from which it is
        elongated-like.
    ks_distance : float
        Largest distance of a skew-normal fit from the scores; beyond it the index is the percentile.
    """

    negated: tuple[str, ...] = NEGATED
    outlier_z: float = 4.0
    low: float = 0.4
    high: float = 0.6
    ks_distance: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise ConfigError(
                f"low and high must ascend within 0 to 1, got low = {self.low!r} and high = {self.high!r}"
            )
        if not self.outlier_z > 0:
            raise ConfigError(f"outlier_z must be above 0, got {self.outlier_z!r}")
        if not 0 <= self.ks_distance <= 1:
            raise ConfigError(f"ks_distance must lie within 0 to 1, got {self.ks_distance!r}")

    def classes(self, index: Array) -> Array:
        """Number (n,) in `FORMS` of the class of each index (n,)."""
        found: Array = np.where(index >= self.high, 2, np.where(index <= self.low, 0, 1))
        return found


@dataclass(frozen=True)
class Model:
    """What a population was found to be; applies to the objects of another one, too."""

    options: Forms
    standard: Standard
    components: Components
    indices: tuple[Index, ...]

    def scores(self, values: Array) -> Array:
        """Scores (n, f) of columns (n, f) without missing values."""
        return self.components.scores(self.standard.scaled(values))

    def form(self, scores: Array) -> Array:
        """Number in `FORMS` of objects with the scores (n, f)."""
        return self.options.classes(self.indices[0].of(scores[:, 0]))


def fit_forms(names: tuple[str, ...], values: Array, options: Forms) -> tuple[Model, Array]:
    """The model of a population, and which objects are outliers in it.

    Parameters
    ----------
    names : tuple of str
        Columns, f of them, at least 2.
    values : ndarray of shape (n, f), float64
        Objects without missing values.
    options : Forms

    Returns
    -------
    Model
    ndarray of shape (n,), bool
        Objects with a z-score beyond `outlier_z`: scored, but the components and the index are those of the
        others.

    Raises
    ------
    InputError
        If there are fewer objects than columns and 2 more, or a column is constant.
    """
    if len(values) < len(names) + 2:
        raise InputError(
            f"{len(values)} objects have all of the {len(names)} columns; components of them need at least "
            f"{len(names) + 2}: choose fewer columns, or fill the missing values"
        )
    standard = fit_standard(names, values, options.negated)
    scaled = standard.scaled(values)
    outlier = far_out(scaled, options.outlier_z)
    kept = scaled[~outlier]
    if len(kept) < len(names) + 2:
        raise InputError(
            f"{int(outlier.sum())} of {len(values)} objects are outliers at outlier_z = {options.outlier_z:g}"
            ", and the others are too few for components; raise it"
        )
    components = fit_components(kept)
    scores = components.scores(kept)
    indices = tuple(fit_index(scores[:, i], options.ks_distance) for i in range(INDEXED))
    return Model(options, standard, components, indices), outlier


def stability(
    model: Model, values: Array, cell: Array | None, *, draws: int, seed: int
) -> tuple[Array, dict[str, Array]]:
    """How often objects keep their class when the population is drawn anew.

    Parameters
    ----------
    model : Model
        Of these objects.
    values : ndarray of shape (n, f), float64
    cell : ndarray of shape (n,), integer, optional
        Whole cells are drawn where there are several, because objects of a cell are alike; else objects.
    draws, seed : int

    Returns
    -------
    ndarray of shape (n,), float64
        Share of the draws in which an object has the class that it has in `model`.
    dict
        `jaccard` (draws, 3), of the objects of each class with the same class of a draw (objects that are in
        both over those in either); `congruence` (draws, 2), the cosine between the loadings of the first
        two components and those of the draw.

    References
    ----------
    .. [1] Hennig, Computational Statistics & Data Analysis 52 (2007), doi:10.1016/j.csda.2006.11.025
    """
    rng = np.random.default_rng(seed)
    names = model.standard.names
    own = model.form(model.scores(values))
    units = np.arange(len(values)) if cell is None else np.unique(cell, return_inverse=True)[1]
    if not len(units) or units.max() == 0:
        units = np.arange(len(values))
    order, sizes = np.argsort(units, kind="stable"), np.bincount(units)
    begins = np.concatenate([[0], np.cumsum(sizes)])
    same = np.zeros(len(values))
    jaccard, congruence = np.empty((draws, len(FORMS))), np.empty((draws, INDEXED))
    for draw in range(draws):
        chosen = rng.integers(len(sizes), size=len(sizes))
        rows = np.concatenate([order[begins[unit] : begins[unit + 1]] for unit in chosen])
        found, _ = fit_forms(names, values[rows], model.options)
        form = found.form(found.scores(values))
        same += form == own
        for kind in range(len(FORMS)):
            either = int(((form == kind) | (own == kind)).sum())
            jaccard[draw, kind] = ((form == kind) & (own == kind)).sum() / either if either else np.nan
        pairs = zip(found.components.vectors[:INDEXED], model.components.vectors[:INDEXED], strict=True)
        congruence[draw] = [float(a @ b) for a, b in pairs]
    return same / max(draws, 1), {"jaccard": jaccard, "congruence": congruence}
