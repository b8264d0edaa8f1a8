"""What forms the objects of a table have: components, index, classes, and how cells differ."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from chunkflow_liver.engine.plan import Kind, Plan, Product
from chunkflow_liver.engine.stage import Fold, Map, Stage, plain
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.populations.forms import Forms
from chunkflow_liver.kernels.populations.standard import SHAPE
from chunkflow_liver.ops.population.options import Search, Select
from chunkflow_liver.ops.population.tables import described
from chunkflow_liver.ops.steps.objects import (
    ONCE,
    WithUnits,
    as_table,
    check_measured,
    check_packages,
    part,
    task_bytes,
)
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import PathLike, table_at, work_folder
from chunkflow_liver.store.table import Table

PARTS: tuple[tuple[str, Kind], ...] = (
    ("", "population"),
    ("-features", "population features"),
    ("-components", "population components"),
    ("-forms", "population forms"),
    ("-summary", "population summary"),
    ("-model", "population model"),
)
OF_CELLS: tuple[tuple[str, Kind], ...] = (
    ("-cells", "population cells"),
    ("-tests", "population tests"),
)
ENRICHED: tuple[tuple[str, Kind], ...] = (("-enrichment", "population enrichment"),)


@operation
def population(  # noqa: PLR0913
    tables: Table | PathLike | Sequence[Table | PathLike],
    *,
    columns: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    border: bool = True,
    cell: str | None = None,
    forms: Forms | None = None,
    search: Search | None = None,
    select: Select | None = None,
    windows: Table | PathLike | None = None,
    by: Sequence[str] = ("form",),
    model: Table | PathLike | None = None,
    name: str,
    work: PathLike,
) -> Plan:
    """Plan tables of the forms that a population of objects has, and of its cells.

    Parameters
    ----------
    tables : Table or path, or several
        With a row per object, as `measure` makes them, joined by label: the objects and the names of columns
        are those of the first; a column of another table is named `<table>.<column>`.
    columns : sequence of str, optional
        Measurements that make the components; by default the 14 shape features of `measure`'s group 'shape'.
        Places, ids and boxes are refused.
    classes : sequence of str, optional
        Objects of these classes only (the column `class`); all by default.
    border : bool
        Whether objects take part that the end of the volume cuts.
    cell : str, optional
        Column with the cell of each object, as `parent`; 0 is none. Without it there are no cells.
    forms : Forms, optional
        Signs, outliers and thresholds.
    search : Search, optional
        Bootstrap of the classes; a mixture, dense clusters and a map.
    select : Select, optional
        Which objects are `selected`; all that have a score by default.
    windows : Table or path, optional
        Windows of narrowings of the same objects (`<name>-windows` of `narrowing`): contact at narrowings
        against other places, of the selected objects.
    by : sequence of str
        What `windows` are grouped by: 'form', 'cell', or a column as a zone; all selected objects come first,
        and those without a value, or of 0 or '', are of no group.
    model : Table or path, optional
        `<name>-model` of another population, which is applied instead of fitting one; `forms` are then its.
    name : str
        Name of the table.
    {work}

    Returns
    -------
    Plan
        Its `output` is a `Table` with a row per object, sorted by label: `label`, `cell`, the columns,
        `left_out` ('' or 'missing', 'border', 'outlier'), `PC1` ... , `PC1_index`, `PC2_index` (0 to 1),
        `form`, `form_stability`, clusters, `selected`, `model` (its fingerprint). Objects with missing values
        have no score; outliers and objects cut by the border have one, but had no part in the model.
        `<name>-features` has signs, means, standard deviations and loadings, `<name>-components` variances
        and the fits of PC1 and PC2, `<name>-forms` the classes, `<name>-summary` what is counted,
        `<name>-model` the model; with `cell` `<name>-cells` has a row per cell and `<name>-tests` one per
        column: whether and how much cells differ; with `windows` `<name>-enrichment` a row per group.

    Raises
    ------
    ConfigError
        If no table is given, columns are no measurements, options contradict each other, or a package of the
        extra `population` is missing.
    """
    given = [tables] if isinstance(tables, Table | str | os.PathLike) else list(tables)
    if not given:
        raise ConfigError("population needs at least one table with a row per object")
    if model is not None and (forms not in (None, Forms()) or columns is not None):
        raise ConfigError("a model brings its columns and forms; leave out 'columns' and 'forms'")
    names = list(SHAPE if columns is None else columns)
    if len(names) < 2:
        raise ConfigError(f"components need 2 columns or more, got {names}")
    check_measured(names)
    if windows is None and tuple(by) != ("form",):
        raise ConfigError("'by' groups windows of narrowings; give 'windows'")
    if "cell" in by and cell is None:
        raise ConfigError("'by' names 'cell'; say in 'cell' which column has it")
    search = search or Search()
    check_packages("population", "sklearn", *(["umap"] if search.umap else []))
    sources = tuple(as_table(table) for table in given)
    artefacts = {f"table{i}": table for i, table in enumerate(sources)}
    artefacts |= {} if windows is None else {"windows": as_table(windows)}
    artefacts |= {} if model is None else {"model": as_table(model)}
    params: dict[str, Any] = {
        "columns": names,
        "classes": None if classes is None else list(classes),
        "border": border,
        "cell": cell,
        "forms": forms or Forms(),
        "search": search,
        "select": select or Select(),
        "by": list(by),
    }
    found = Map(
        f"{name}/described", described, ONCE, params=params, artefacts=artefacts, resident=task_bytes(sources)
    )
    wanted = (*PARTS, *(OF_CELLS if cell else ()), *(ENRICHED if windows is not None else ()))
    stages: tuple[Stage, ...] = (found,)
    products = []
    about = (
        ("tables", [_stem(t) for t in sources]),
        ("fitted", model is None),
        *sorted(plain(params).items()),
    )
    provenance = {"operation": "population", **dict(about)}
    for end, kind in wanted:
        table = table_at(work, f"{name}{end}")
        stages += (
            Fold(
                f"{name}/table{end}",
                part,
                found.name,
                WithUnits(table, sources),
                params={"end": end},
                provenance=provenance,
            ),
        )
        products.append(Product(kind, f"{name}{end}", table, about))
    return Plan(stages, work_folder(work), table_at(work, name), tuple(products))


def _stem(table: Table) -> str:
    return os.path.basename(table.path).removesuffix(".parquet")
