"""Where objects lie between two structures, in which zone, and what changes with it.

One pass over the objects and both distance maps keeps exact sums per object; from tables of objects follow
trends along the positions, with cells as the units.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chunkflow_liver.engine.plan import Kind, Plan, Product
from chunkflow_liver.engine.stage import Fold, Map, Stage, plain
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import BlockGrid, Zyx, zyx
from chunkflow_liver.ops.steps.far.unknown import away_stages
from chunkflow_liver.ops.steps.levels import known_with, map_on
from chunkflow_liver.ops.steps.objects import ONCE, as_table, check_measured, part, task_bytes
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    checked_labels,
    table_at,
    work_folder,
)
from chunkflow_liver.ops.zonation.tables import object_table, sums, trended
from chunkflow_liver.store.table import Table
from chunkflow_liver.store.volume import Volume

TRENDS: tuple[tuple[str, Kind], ...] = (
    ("-trends", "zonation trends"),
    ("-zones", "zonation zones"),
    ("-objects", "zonation objects"),
)
THIRDS = (1 / 3, 2 / 3)


@operation
def zonation(  # noqa: PLR0913
    instances: Volume,
    maps: Sequence[Volume],
    *,
    ends: Sequence[str] | None = None,
    zones: Sequence[float] = THIRDS,
    border: bool = True,
    tables: Table | PathLike | Sequence[Table | PathLike] = (),
    columns: Sequence[str] | None = None,
    cell: str | None = None,
    trend: str = "between",
    level: float = 0.05,
    permutations: int = 9999,
    seed: int = 0,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
) -> Plan:
    """Plan tables of the position of objects between two structures, and of trends along it.

    Parameters
    ----------
    instances : Volume
        Cells between vessels; or organelles between two surfaces of their cell.
    maps : sequence of 2 Volume
        Distances to both, of `distance` (straight) or `geodesic` (along the tissue, or within each cell); on
        the same voxels, or on a coarser level of them.
    ends : sequence of 2 str, optional
        What the maps measure to, for the names of columns; the names of the maps by default.
    zones : sequence of float
        Positions where one zone ends and the next begins.
    border : bool
        Whether objects take part of which something unknown, outside the volume or a mask, could change a
        distance.
    tables : Table or path, or several, optional
        With a row per object, joined by label as `population` does: what may change along the positions.
    columns : sequence of str, optional
        Which of their columns; all measurements by default. `form` stands for the fractions of the classes of
        a population.
    cell : str, optional
        Column of the tables with the cell of each object; 0 is none.
    trend : {'between', 'within'}
        Between cells: `instances` are the cells, and objects lie where their `cell` does (without `cell` the
        rows of the tables are the cells). Within cells: `instances` are the objects, each at its own place,
        and every cell has its own slope.
    level : float
        Of the tests of trends; as few cells as could not reach it are described only.
    permutations : int
        Orders of the cells' positions (or signs of their slopes): all if there are not more, else so many
        by chance.
    seed : int
        Of what is drawn by chance.
    name : str
        Name of the table; those of trends begin with it.
    {work}
    {block}

    Returns
    -------
    Plan
        Its `output` is a `Table` with a row per object: `label, voxels` (where both maps are known, too),
        `<end>_nm` and `<end>_min_nm` for
        both (mean and smallest distance of its voxels), `position` (mean to the first over the sum of both:
        0 at the first end, 1 at the second), `zone` (1, 2, ..; 0 for none), `reached_fraction` and
        `exact_fraction` of its voxels, `left_out` ('' or 'unreached': less than half of it has both
        distances; 'border'). With tables `<name>-trends` has a row per column (see
        `kernels.significance.trends.trends`), `<name>-zones` a row per column and zone with the mean over
        cells and its 95 % interval, and `<name>-objects` the position and zone of every row of the tables (0
        for none), to be joined to others.

    Raises
    ------
    ConfigError, InputError
        If there are not two maps, zones do not ascend from above 0 to below 1, the maps lie on other voxels
        or are no distances, or options of trends do not go together.
    """
    instances = checked_labels(instances, "instances")
    edges = [float(z) for z in zones]
    if len(maps) != 2:
        raise ConfigError(f"a position lies between two structures: give two maps, got {len(maps)}")
    if not all(a < b for a, b in itertools.pairwise([0.0, *edges, 1.0])):
        raise ConfigError(f"zones end at positions that ascend between 0 and 1, got {list(zones)}")
    named = [m.name for m in maps] if ends is None else list(ends)
    if len(named) != 2 or named[0] == named[1]:
        raise ConfigError(f"ends are two different names, got {named}")
    inputs = tuple(map_on(instances, given) for given in maps)
    known = known_with(instances, maps)
    grid = BlockGrid(instances.box, block or zyx(list(instances.write_unit)))
    beyond, away = away_stages(known, instances, name, work, grid.block)
    summed = Map(
        f"{name}/sums",
        sums,
        grid,
        (instances, *inputs, *away),
        params={
            "voxel_nm": instances.voxel_nm,
            "known": known,
            "quanta": [m.quantum_nm for m in maps],
        },
        working=110.0 + 6 * len(away),
    )
    places = table_at(work, name)
    about: tuple[tuple[str, Any], ...] = (
        ("instances", instances.name),
        ("ends", named),
        ("zones", edges),
        ("border", border),
    )
    provenance = {"operation": "zonation", **dict(about)}
    stages: tuple[Stage, ...] = (
        *beyond,
        summed,
        Fold(
            f"{name}/table",
            object_table,
            summed.name,
            places,
            params={"ends": named, "zones": edges, "border": border},
            provenance=provenance,
        ),
    )
    products = [Product("zonation", name, places, about)]
    given = [tables] if isinstance(tables, Table | str | os.PathLike) else list(tables)
    _check_trend(bool(given), columns, cell, trend, level, permutations)
    if given:
        sources = tuple(as_table(table) for table in given)
        params = {
            "columns": None if columns is None else list(columns),
            "cell": cell,
            "within": trend == "within",
            "zones": edges,
            "level": level,
            "permutations": permutations,
            "seed": seed,
        }
        artefacts = {"places": places, **{f"table{i}": table for i, table in enumerate(sources)}}
        found = Map(
            f"{name}/trended",
            trended,
            ONCE,
            params=params,
            artefacts=artefacts,
            resident=task_bytes(sources) + 64 * permutations * 20,
        )
        told = (*about, ("tables", [Path(t.path).stem for t in sources]), *sorted(plain(params).items()))
        stages += (found,)
        for end, kind in TRENDS:
            table = table_at(work, f"{name}{end}")
            stages += (
                Fold(
                    f"{name}/table{end}",
                    part,
                    found.name,
                    table,
                    params={"end": end},
                    provenance={"operation": "zonation", **dict(told)},
                ),
            )
            products.append(Product(kind, f"{name}{end}", table, told))
    return Plan(stages, work_folder(work), places, tuple(products))


def _check_trend(
    tables: bool, columns: Sequence[str] | None, cell: str | None, trend: str, level: float, permutations: int
) -> None:
    """Refuse options of trends that do not go together."""
    if trend not in ("between", "within"):
        raise ConfigError(f"trend must be 'between' or 'within' cells, got {trend!r}")
    if not tables and (columns is not None or cell is not None or trend == "within"):
        raise ConfigError("'columns', 'cell' and 'trend' are of tables of objects; give 'tables'")
    if trend == "within" and cell is None:
        raise ConfigError("a trend within cells needs 'cell', the column with the cell of each object")
    if columns is not None:
        check_measured([c for c in columns if c != "form"])
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1, got {level!r}")
    if permutations < 1:
        raise ConfigError(f"permutations must be 1 or more, got {permutations!r}")
