"""The network of vessels, canaliculi or ducts: thinned block by block in rounds, one graph, its tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from chunkflow_liver.engine.plan import Kind, Plan, Product
from chunkflow_liver.engine.stage import Fold, Map, Stage
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import BlockGrid, Zyx, voxels
from chunkflow_liver.kernels.distance.squares import smallest_type, whole_unit
from chunkflow_liver.kernels.network.chains import HALO
from chunkflow_liver.kernels.network.thinning import LAST, halo_of, levels
from chunkflow_liver.kernels.network.tidying import Tidy
from chunkflow_liver.ops.network.block import depth_block, parts_block, thin_block
from chunkflow_liver.ops.network.tables import (
    TABLES,
    angle_rows,
    branch_rows,
    graph_of,
    network_rows,
    node_rows,
    point_rows,
    summary_rows,
)
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    arrays_at,
    artefact_url,
    checked_labels,
    class_list,
    table_at,
    work_folder,
)
from chunkflow_liver.store.volume import Volume

SWEEPS = 8
"""Sweeps of a round at most: more need a wider halo, fewer more rounds, each of which reads all anew."""
LONGEST = 2.0
"""Ratio of voxel sides from which a plan says that lines along the longer one are less well resolved."""
MADE: tuple[tuple[str, Any, Kind], ...] = tuple(
    zip(
        TABLES,
        (branch_rows, node_rows, angle_rows, network_rows, point_rows, summary_rows),
        (
            "network branches",
            "network nodes",
            "network angles",
            "networks",
            "network points",
            "network summary",
        ),
        strict=True,
    )
)
"""Ends of the names of the tables, what makes them, and what they are to the report."""


@operation
def network(
    labels: Volume,
    *,
    classes: str | int | Sequence[str | int] | None = None,
    widest_nm: float,
    tidy: Tidy | None = None,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
) -> Plan:
    """Plan the graph of the centre lines of tubes: sinusoids, canaliculi, ducts, vessels, however large.

    Parameters
    ----------
    labels : Volume
        Classes or instance ids; a coarser level where voxels are much smaller than the tubes.
    classes : str or int, or several, optional
        What the tubes are made of, together one object; every label that is not 0 by default.
    widest_nm : float
        Width of the widest tube, in nm: of a flat one the longer side of its section. Wider places stay
        lumps, each a node that is not `resolved`.
    tidy : Tidy, optional
        Which branches are none, and which nodes are one.
    name : str
        Name of the table of branches.
    {work}
    {block}

    Returns
    -------
    Plan
        Its `output` is the `Table` `<name>`, a row per branch: its nodes, length along the smoothed centre
        line, distance of its ends, tortuosity, radius. `<name>-nodes`: places, degrees, radii;
        `<name>-angles`: of every two branches at a node; `<name>-networks`: of what is connected, lengths,
        loops, shares; `<name>-points`: the centre lines; `<name>-summary`: densities, and the network beside
        the Delaunay graph and the minimum spanning tree of its branch points. The same bytes for any block.

    Raises
    ------
    ConfigError, InputError
        If the width is below two voxels, a number of `tidy` is negative, a class does not exist, or the
        volume holds no labels.
    """
    tidy = tidy or Tidy()
    labels = checked_labels(labels, "classes and instances")
    if not (math.isfinite(widest_nm) and widest_nm >= 2 * min(labels.voxel_nm)):
        raise ConfigError(
            f"widest_nm must be a length of two voxels or more, {2 * min(labels.voxel_nm):g} nm here, got "
            f"{widest_nm!r}; give the width of the widest tube"
        )
    if not min(tidy.spur, tidy.unite, tidy.touch) >= 0:
        raise ConfigError(f"spur, unite and touch must be 0 or more, got {tidy!r}")
    named = any(number for _, number in labels.classes)
    wanted = None
    if classes is not None:
        # Ids of instances are no classes, and have no names.
        wanted = [
            c if isinstance(c, int) and not named else labels.class_number(c) for c in class_list(classes)
        ]
    if wanted is not None and (0 in wanted or not wanted or len(set(wanted)) < len(wanted)):
        raise ConfigError(f"classes are named once each, and not the background; got {classes!r}")
    stages = _thinning(labels, wanted, widest_nm, name, work, block)
    depth, last = stages[0], stages[-1]
    parts = Map(
        f"{name}/parts",
        parts_block,
        replace(depth.grid, low=HALO, high=HALO),
        (last.outputs[0], depth.outputs[0]),
        params={"voxel_nm": labels.voxel_nm, "known": labels.seen},
        # Where nothing is thinned, as in what is too wide, many voxels are nodes.
        working=24.0,
    )
    graph = arrays_at(work, name, "graph")
    about = (
        ("labels", labels.name),
        ("classes", "all" if wanted is None else tuple(map(str, class_list(classes or ())))),
        ("widest_nm", float(widest_nm)),
        ("spur", tidy.spur),
        ("unite", tidy.unite),
        ("touch", tidy.touch),
    )
    params: dict[str, Any] = {
        "voxel_nm": labels.voxel_nm,
        "shape": labels.shape,
        "known": labels.seen,
        "tidy": tidy,
        "limit": levels(widest_nm, labels.voxel_nm)[-1],
    }
    whole: list[Stage] = [Fold(f"{name}/graph", graph_of, parts.name, graph, params=params, spills=True)]
    products = []
    counted = Fold(f"{name}/counted", _counted, depth.name, arrays_at(work, name, "counted"))
    provenance = {"operation": "network", "voxel_nm": list(labels.voxel_nm), **dict(about)}
    for end, function, kind in MADE:
        table = table_at(work, f"{name}{end}")
        artefacts = {"graph": graph} | ({"counted": counted.output} if end == "-summary" else {})
        given = {"voxel_nm": labels.voxel_nm} if end == "-summary" else {}
        whole.append(
            Fold(
                f"{name}/table{end}",
                function,
                parts.name,
                table,
                params=given,
                artefacts=artefacts,  # type: ignore[arg-type]
                provenance=provenance,
            )
        )
        products.append(Product(kind, f"{name}{end}", table, about))
    return Plan(
        (stages[0], counted, *stages[1:], parts, *whole),
        work_folder(work),
        table_at(work, name),
        tuple(products),
    )


def _counted(records: Any) -> dict[str, Any]:
    """Voxels of the object and of what was looked at, of the whole volume."""
    found = [(int(r["count"][0]), int(r["count"][1])) for _, r in records]
    return {"voxels": [sum(n for n, _ in found)], "known": [sum(n for _, n in found)]}


def _thinning(
    labels: Volume, wanted: list[int] | None, widest_nm: float, name: str, work: PathLike, block: Zyx | None
) -> list[Map]:
    """Distances inside the object, and rounds of sweeps that leave its centre lines."""
    unit, limits = whole_unit(labels.voxel_nm), levels(widest_nm, labels.voxel_nm)
    kind = smallest_type(2 * limits[-1] + 1)
    halo = voxels(widest_nm / 2, labels.voxel_nm)

    def kept(what: str) -> Volume:
        found = labels.like(
            artefact_url(work, name, what), dtype=kind.name, kind="image", block=block, levels=1
        )
        return replace(found, source=None)

    output = kept("depth")
    grid = BlockGrid(labels.box, block or output.write_unit, halo, halo)
    notes: tuple[str, ...] = ()
    if max(labels.voxel_nm) > LONGEST * min(labels.voxel_nm):
        sides = " x ".join(f"{v:g}" for v in labels.voxel_nm)
        notes = (
            f"voxels of {sides} nm: thinning goes by true distances, but no line is finer than the longest "
            "side; a coarser level with sides of nearly one length is as good, and faster",
        )
    stages = [
        Map(
            f"{name}/depth",
            depth_block,
            grid,
            (labels,),
            (output,),
            params={
                "wanted": wanted,
                "voxel_nm": labels.voxel_nm,
                "limit": limits[-1],
                "known": labels.seen,
                "unit": unit,
            },
            working=6.0 + 3 * kind.itemsize,
            notes=notes,
        )
    ]
    rounds = -(-len(limits) // SWEEPS)
    parts = [(t + 1) * len(limits) // rounds - t * len(limits) // rounds for t in range(rounds)]
    for turn in range(rounds):
        own = limits[turn * len(limits) // rounds : (turn + 1) * len(limits) // rounds]
        reach = halo_of(len(own))
        stages.append(
            Map(
                f"{name}/thinning-{turn + 1}",
                thin_block,
                replace(grid, low=reach, high=reach),
                (stages[-1].outputs[0],),
                (kept(f"thinned-{turn + 1}"),),
                params={
                    "limits": own,
                    "known": labels.seen,
                    # Of all sweeps the last ones, wherever a round begins.
                    "last": max(0, min(len(own), LAST - sum(parts[turn + 1 :]))),
                },
                working=2.0 * kind.itemsize + 2,
            )
        )
    return stages
