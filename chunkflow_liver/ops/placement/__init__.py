"""Are objects nearer to others than chance? Each is laid at random in its own cell, and measured there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Kind, Plan, Product
from chunkflow_liver.engine.stage import Fold, Map, Stage, plain
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import BlockGrid, Zyx, zyx
from chunkflow_liver.kernels.contacts.gaps import halo_voxels
from chunkflow_liver.kernels.contacts.placements import Chance
from chunkflow_liver.ops.placement.block import place_block
from chunkflow_liver.ops.placement.tables import curves, objects, tests
from chunkflow_liver.ops.steps.crops import cut_stages, extents
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    checked_labels,
    class_list,
    known_in_all,
    same_voxels,
    table_at,
    work_folder,
)
from chunkflow_liver.store.volume import Volume

PARTS: tuple[tuple[str, Any, Kind], ...] = (
    ("", tests, "placement tests"),
    ("-objects", objects, "placement objects"),
    ("-curve", curves, "placement curve"),
)
"""Ends of the names of the tables, what makes them, and what they are to the report."""


@operation
def placement(  # noqa: PLR0913
    instances: Volume,
    other: Volume,
    *,
    to: str | int | Sequence[str | int] | None = None,
    chance: Chance | None = None,
    avoid: Sequence[str | int] = (),
    parents: Volume | None = None,
    keep: Volume | None = None,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
) -> Plan:
    """Plan tests of whether instances lie nearer to classes, or to other instances, than chance.

    Parameters
    ----------
    instances : Volume
        Object ids, 0 is background: each is laid at random.
    other : Volume
        What they may be near to, on the same voxels and not `instances`: classes, with `to`, or instances,
        which are all one partner.
    to : str or int, or several, optional
        Classes of `other`; each is a partner of its own.
    chance : Chance, optional
        Gap and cap, number and reach of the placements, seed.
    avoid : sequence of str or int
        Further classes of `other` that no object is laid on. None is laid on a partner or on another object.
    parents : Volume, optional
        Cells or zones: an object stays in that which most of its voxels lie in (outside of all, if that is
        0), and intervals go by them.
    keep : Volume, optional
        Distances to a third structure, in nm (`distance` makes them): the middle of an object stays in the
        shell, `chance.keep_nm` deep, that it lies in.
    name : str
        Name of the table.
    {work}
    {block}

    Returns
    -------
    Plan
        Its `output` is the `Table` `<name>`, two rows per partner: the share of the surface within the gap,
        and the distance to the nearest (the cap where it is farther), each as the mean over objects where
        they are (`observed`) and where chance lays them (`expected`, with `low` and `high`, between which
        95 % of the placements' means lie), the difference of the two with a 95 % interval, `p_value` and
        `q_value` (over all rows). `<name>-objects` has a row per object and partner, `<name>-curve` one per
        partner and nm of the gap.

    Raises
    ------
    ConfigError, InputError
        If a class does not exist, `other` is `instances`, or volumes do not lie on the same voxels or hold
        no labels.
    """
    chance = chance or Chance()
    instances, other = checked_labels(instances, "instances"), checked_labels(other, "the others")
    if (other.url, other.path) == (instances.url, instances.path):
        raise ConfigError(
            f"{name!r} lays {instances.name!r} at random near itself, where all would have to move at once; "
            "name another image as 'other'"
        )
    if to is None and other.classes:
        raise ConfigError(
            f"{other.name!r} has classes {[c for c, _ in other.classes]}; say by 'to' which are meant"
        )
    wanted: list[str | int | None] = [None] if to is None else [*class_list(to)]
    numbers = [None if c is None else other.class_number(c) for c in wanted]
    if 0 in numbers or len(set(numbers)) < len(numbers) or not numbers:
        raise ConfigError(f"'to' names classes, each once and not the background; got {to!r}")
    forbidden = [other.class_number(c) for c in avoid]
    given = {"parents": parents, "keep": keep}
    inputs = [instances, other]
    for what, volume in given.items():
        if volume is not None:
            inputs.append(checked_labels(volume, what) if what == "parents" else volume)
    for volume in inputs[1:]:
        same_voxels(instances, volume, "placement needs all on the same voxels")
    if keep is not None and np.dtype(keep.dtype).kind not in "fu":
        raise ConfigError(
            f"{keep.url} holds {keep.dtype} voxels; 'keep' takes distances, as 'distance' makes them"
        )
    if keep is not None and np.dtype(keep.dtype).kind == "u" and keep.quantum_nm is None:
        raise ConfigError(
            f"{keep.url} holds {keep.dtype} voxels and no step in nm; 'keep' takes distances, whole ones as "
            "'distance' writes them with quantum_nm"
        )
    stages, found = extents(instances, name=name, work=work, block=block)
    known = known_in_all(*inputs)
    cutting, cut = cut_stages(instances, known, name=name, work=work, block=block)
    names = [other.name if c is None else str(c) for c in wanted]
    layers = 12 + 4 * len(numbers) + sum(v.itemsize for v in inputs)
    map_ = Map(
        f"{name}/placements",
        place_block,
        BlockGrid(instances.box, block or zyx(list(instances.write_unit))),
        tuple(inputs),
        params={
            "numbers": numbers,
            "avoid": forbidden,
            "given": [parents is not None, keep is not None],
            "quantum_nm": 1.0 if keep is None or keep.quantum_nm is None else keep.quantum_nm,
            "chance": chance,
            "known": known,
        },
        artefacts={"objects": found, **cut},
        resident=_resident(instances, other, chance, layers),
        streams=True,
    )
    settings = plain(dataclasses.asdict(chance))
    provenance = {"operation": "placement", "voxel_nm": list(instances.voxel_nm), **settings}
    about = (("a", instances.name), ("b", tuple(names)), *sorted(settings.items()))
    about += (
        ("parents", None if parents is None else parents.name),
        ("keep", None if keep is None else keep.name),
    )
    tables: list[Stage] = []
    products = []
    for part, function, kind in PARTS:
        table = table_at(work, f"{name}{part}")
        params = {"partners": names, "chance": chance, "voxel_nm": instances.voxel_nm}
        tables.append(
            Fold(f"{name}/table{part}", function, map_.name, table, params=params, provenance=provenance)
        )
        products.append(Product(kind, f"{name}{part}", table, about))
    return Plan((*stages, *cutting, map_, *tables), work_folder(work), table_at(work, name), tuple(products))


def _resident(instances: Volume, other: Volume, chance: Chance, layers: int) -> int:
    """Bytes of a window of `layers` bytes per voxel, and of the same with the cap around it.

    In that distances to partners are measured: the image, a mask, and three arrays of whole numbers. A window
    is no thinner than the cube that a middle stays in, or the volume.
    """
    most, wide = instances.box.size, 1.0
    window = min(2 * chance.crop_voxels, most)
    halo = halo_voxels(chance.cap_nm, instances.voxel_nm)
    for reach, size, extent in zip(halo, instances.voxel_nm, instances.box.shape, strict=True):
        wide *= 1 + 2 * reach / max(1.0, min(chance.region_nm / size, extent))
    grown = min(window * wide, most)
    return int(window * (layers + 24) + (grown - window) * (other.itemsize + 1 + 3 * 4))
