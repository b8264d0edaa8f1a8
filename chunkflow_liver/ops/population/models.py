"""A model of a population as a table, a number a row, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.kernels.populations.components import Components
from chunkflow_liver.kernels.populations.forms import Forms, Model
from chunkflow_liver.kernels.populations.index import FITTED, RANKED, Index, SkewNormal
from chunkflow_liver.kernels.populations.standard import Standard
from chunkflow_liver.store.table import Table, read_table
from chunkflow_liver.xp import Array

OPTIONS = ("outlier_z", "low", "high", "ks_distance")
FITS = ("alpha", "loc", "scale", "distance", "by_fit")
Row = tuple[str, str, int, int, float]


def as_columns(model: Model) -> dict[str, Array]:
    """`what`, the column of objects, the component (from 1) and the position that it is of; `value`."""
    names = ("what", "column", "component", "position", "value")
    rows = list(_rows(model))
    return {name: np.array([row[i] for row in rows]) for i, name in enumerate(names)}


def _rows(model: Model) -> Iterator[Row]:
    for option in OPTIONS:
        yield option, "", 0, 0, float(getattr(model.options, option))
    standard, components = model.standard, model.components
    for i, name in enumerate(standard.names):
        for what, values in (("sign", standard.sign), ("mean", standard.mean), ("sd", standard.sd)):
            yield what, name, 0, i, float(values[i])
        yield "center", name, 0, i, float(components.center[i])
        for k, vector in enumerate(components.vectors):
            yield "loading", name, k + 1, i, float(vector[i])
    for k, variance in enumerate(components.variance.tolist()):
        yield "variance", "", k + 1, 0, variance
    for k, index in enumerate(model.indices):
        fit = (index.fit.alpha, index.fit.loc, index.fit.scale, index.distance, float(index.by == FITTED))
        for what, value in zip(FITS, fit, strict=True):
            yield what, "", k + 1, 0, value
        for position, value in enumerate(index.nodes.tolist()):
            yield "node", "", k + 1, position, value


def fingerprint(model: Model) -> str:
    """What tells a model from any other: the first 16 digits of the SHA-256 of its numbers."""
    digest = hashlib.sha256()
    for what, column, component, position, value in _rows(model):
        digest.update(f"{what} {column} {component} {position} {float(value).hex()}\n".encode())
    return digest.hexdigest()[:16]


def read_model(table: Table) -> Model:
    """The model that a population left.

    Raises
    ------
    InputError
        If the table is none.
    """
    read = read_table(table)
    names = ("what", "column", "component", "position", "value")
    if read.column_names != list(names):
        raise InputError(f"{table.path} is no model of a population; give '<name>-model' of one")
    found: dict[tuple[str, int], list[tuple[int, str, float]]] = {}
    for what, column, component, position, value in zip(
        *(read.column(n).to_pylist() for n in names), strict=True
    ):
        found.setdefault((what, component), []).append((position, column, value))

    def values(what: str, component: int = 0) -> Array:
        return np.array([value for _, _, value in sorted(found[what, component])])

    try:
        columns = tuple(column for _, column, _ in sorted(found["mean", 0]))
        standard = Standard(columns, values("sign"), values("mean"), values("sd"))
        parts = range(1, len(columns) + 1)
        components = Components(
            values("center"),
            np.stack([values("loading", k) for k in parts]),
            np.concatenate([values("variance", k) for k in parts]),
        )
        indices = tuple(_index(values, k) for k in parts if ("node", k) in found)
        options = {name: float(values(name)[0]) for name in OPTIONS}
        negated = tuple(n for n, s in zip(columns, standard.sign, strict=True) if s < 0)
    except (KeyError, ValueError) as err:
        raise InputError(f"{table.path} is a model with parts missing: {err!r}; make it anew") from err
    return Model(Forms(negated, **options), standard, components, indices)


def _index(values: object, component: int) -> Index:
    alpha, loc, scale, distance, fitted = (float(values(what, component)[0]) for what in FITS)  # type: ignore[operator]
    by = FITTED if fitted else RANKED
    nodes = values("node", component)  # type: ignore[operator]
    return Index(SkewNormal(alpha, loc, scale), distance, by, "" if fitted else "the model's index", nodes)
