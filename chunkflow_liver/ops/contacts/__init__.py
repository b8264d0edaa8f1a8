"""Contacts: which objects come within a gap of which, with how much surface, in how many sites.

One pass reads both labellings and keeps sums over whole numbers; the gaps that it finds are not stored.
A contact site is a connected part of the surface of one object that is nearest to one partner; sites
are joined across blocks as instances are.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.pyramid import pyramid
from chunkflow_liver.engine.stage import Fold, Map, Stage, plain
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.geometry import BlockGrid, Zyx, zyx
from chunkflow_liver.kernels.centreline.sections import pitch_nm
from chunkflow_liver.kernels.contacts.curves import Bands, checked_bands
from chunkflow_liver.kernels.contacts.gaps import halo_voxels
from chunkflow_liver.kernels.distance.local_errors import reach_voxels
from chunkflow_liver.kernels.significance.boundaries import Boundary
from chunkflow_liver.ops.contacts.block import contact_block, site_ids
from chunkflow_liver.ops.contacts.sides import Sides
from chunkflow_liver.ops.contacts.tables import (
    join_sites,
    met_labels,
    object_curve,
    object_table,
    pair_curve,
    pair_table,
    site_table,
)
from chunkflow_liver.ops.steps.far.nearest import nearest_stages
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    arrays_at,
    artefact_url,
    checked_labels,
    known_in_all,
    label_url,
    same_voxels,
    table_at,
    work_folder,
)
from chunkflow_liver.ops.steps.scored import Given, Scored, scored
from chunkflow_liver.store.volume import Volume

CURVES = (("curve", pair_curve), ("object-curve", object_curve))
"""Ends of the names of the tables of curves, and what makes them."""


@operation
def contacts(  # noqa: PLR0913
    instances: Volume,
    other: Volume,
    *,
    of: str | int | None = None,
    to: str | int | None = None,
    gap_nm: float,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
    sites: bool = False,
    nearest: bool = False,
    curve_nm: float | None = None,
    bands_nm: Bands = (),
    centres: bool = False,
    boundary: Boundary | None = None,
    scores: Given = None,
    partner_scores: Given = None,
) -> Plan:
    """Plan tables of contacts between two sets of instances, two classes, or instances and a class.

    Parameters
    ----------
    instances : Volume
        Where objects A are: instances, or a semantic volume with `of`.
    other : Volume
        Where objects B are: instances, or a semantic volume with `to`. May be `instances` itself.
    of, to : str or int, optional
        Class that is A, or B, taken as one object whose label is the class number.
    gap_nm : float
        Largest gap, in nm, between the boxes of two voxels (0 where they touch).
    name : str
        Name of the table, and of the label image of sites.
    {work}
    {block}
    sites : bool
        Also make the label image `name`: the contact sites on A's surface, with the ids of `<name>-sites`.
    nearest : bool
        Look for the nearest partner of every object, however far: `nearest_nm` and `nearest_label` of
        `<name>-objects` then hold beyond `gap_nm`, and `nearest_exact` says whether what lies outside the
        volume could be nearer.
    curve_nm : float, optional
        Also the area in contact as a function of the gap, at 0, 1, .. nm up to this: `<name>-curve` per
        pair, `<name>-object-curve` per object.
    bands_nm : sequence of pairs of float
        Also the area at a gap above the first and up to the second of each pair, in nm; from 0 on what
        touches counts.
    centres : bool
        Also what lies within `gap_nm` between the *centres* of two voxels, as many programs count:
        `centre_*`, beside the same between their boxes.
    boundary : Boundary, optional
        How sure boundaries are: from this come `*_low` and `*_high`. Without it, and without scores, both
        boundaries are shifted by half a voxel.
    scores, partner_scores : Volume or sequence of Volume, optional
        Scores of the class of A, and of that of B (as `segment` keeps them), from which the error of every
        boundary is read where it lies, unless `boundary` says what `calibrate` measured; or images of several
        folds or networks, scores or labels. Where A and B are one labelling `scores` are of both.

    Returns
    -------
    Plan
        Its `output` is a `Table` with one row per pair, sorted by label_a, label_b: `voxels` (surface
        voxels of A within the gap of B), `voxels_b` (the same seen from B), `area_a_um2, area_b_um2` (the
        surface that those voxels stand for, see `surface_areas`), `gap_min_nm`, and over A's voxels
        `gap_mean_nm` and percentiles, `sites` (connected parts of A's surface whose nearest partner
        is B). Where objects overlap, one that lies inside the other may be near none of its surface:
        then that side counts 0 voxels, and gaps are missing if it is A. `<name>-objects` has one
        row per object with a surface (`surface_um2, contact_um2, contact_fraction, partners`, and of the
        nearest partner `nearest_nm`, infinite beyond the gap unless asked for, and `nearest_label`, of
        equally near ones the smallest, 0 for none), `<name>-sites` one per site. With scores pairs have
        `boundary_a_nm`, `boundary_a_source` (of `significance.boundaries.SOURCES`),
        `boundary_a_capped_fraction` and the same of b; objects `boundary_nm` .. and `partner_boundary_nm` ..

    Raises
    ------
    ConfigError, InputError
        If a gap is negative, a band ends beyond `gap_nm`, a class does not exist or is background, or the
        volumes hold no labels or do not lie on the same voxels, or if scores are none.
    """
    for option, value in (("gap_nm", gap_nm), ("curve_nm", 0.0 if curve_nm is None else curve_nm)):
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"{option} must be 0 or more, got {value!r}")
    bands = checked_bands(bands_nm, gap_nm, "gap_nm")
    same_voxels(instances, other, "contacts need both on the same voxels")
    instances = checked_labels(instances, "instances")
    other = checked_labels(other, "classes and instances")
    numbers = (_class(instances, of), _class(other, to))
    voxel_nm = instances.voxel_nm
    boundary = boundary or Boundary()
    one = (other.url, other.path) == (instances.url, instances.path)
    same = one and numbers[0] == numbers[1]
    images, read = _scored(instances, other, scores, partner_scores, (of, to), same=same)
    sides = Sides(boundary, (len(images[0]), len(images[0 if same else 1])), pitch_nm(voxel_nm))
    boundary.check(*sides.images)
    if not sides.local:
        # What is known already is not read.
        images, read = ((), ()), (Scored(), Scored())
    reach_nm = max(gap_nm + sides.largest_nm, curve_nm or 0.0)
    halo = halo_voxels(reach_nm, voxel_nm)
    most_nm = boundary.largest_nm(sides.pitch_nm)
    if sides.local:
        halo = zyx([max(pair) for pair in zip(halo, reach_voxels(most_nm, voxel_nm), strict=True)])
    # One voxel more after the block: there its sites meet those of the next one.
    beyond = zyx([n + 1 for n in halo])
    params: dict[str, Any] = {"voxel_nm": voxel_nm, "gap_nm": float(gap_nm), "numbers": numbers}
    params |= {"same": same, "centres": centres, "reach_nm": reach_nm}
    gaps = {"gap_nm": float(gap_nm), "bands_nm": bands, "centres": centres, "sides": sides}
    curve = None if curve_nm is None else float(curve_nm)
    known = known_in_all(instances, other)
    final = instances.like(label_url(work, name), dtype="uint32", kind="label", block=block)
    grid = BlockGrid(instances.box, block or final.write_unit, halo, beyond)
    parts = final.like(artefact_url(work, name, "parts"), dtype="uint32", kind="label", block=block, levels=1)
    joined = arrays_at(work, name, "sites")
    within = {"voxel_nm": voxel_nm, "gap_nm": float(gap_nm)}
    first = f"{name}/contacts"
    met = arrays_at(work, name, "met")
    search, far = (
        nearest_stages(
            (instances,) if one else (instances, other),
            numbers=numbers,
            sides="a" if params["same"] else "ab",
            known=known,
            block=grid.block,
            name=name,
            work=work,
            met=met,
        )
        if nearest
        else ((), {})
    )
    stated = {"bands_nm": bands, "curve_nm": curve, **dataclasses.asdict(boundary)}
    stated |= {f"boundary_{side}_source": source for side, source in sides.sources.items()}
    stated |= {
        f"boundary_{side}_images": list(how.names) for side, how in zip("ab", read, strict=True) if how.names
    }
    provenance = {"operation": "contacts", **plain(params | stated)}
    stages: tuple[Stage, ...] = (
        Map(
            first,
            contact_block,
            grid,
            ((instances,) if one else (instances, other)) + images[0] + images[1],
            (parts,) if sites else (),
            params=params | {"sites": sites, "known": known, "scores": read, "most_nm": most_nm},
            # Of an image its codes, and of several one array of all.
            working=82.0 + 4.0 * sum(map(len, images)),
            resident=64 << 20,
        ),
        Fold(f"{name}/sites", join_sites, first, joined, params={"counts": grid.counts}, spills=True),
        *((Fold(f"{name}/met", met_labels, first, met, params=within),) if nearest else ()),
        *search,
        *(
            Fold(
                f"{name}/{what}",
                function,
                first,
                table_at(work, table),
                params={"voxel_nm": voxel_nm, **more},
                artefacts={"joined": joined, **arrays},
                provenance=provenance,
            )
            for what, function, table, more, arrays in (
                ("site-table", site_table, f"{name}-sites", {}, {}),
                (
                    "object-table",
                    object_table,
                    f"{name}-objects",
                    gaps | ({"known": known.box} if nearest else {}),
                    far,
                ),
                ("table", pair_table, name, gaps, {}),
            )
        ),
        *(
            Fold(
                f"{name}/{what}",
                function,
                first,
                table_at(work, f"{name}-{what}"),
                params={"voxel_nm": voxel_nm, "curve_nm": curve},
                provenance=provenance,
            )
            for what, function in CURVES
            if curve_nm is not None
        ),
    )
    about = (
        ("a", instances.name if of is None else of),
        ("b", other.name if to is None else to),
        ("gap_nm", gap_nm),
        *((f"boundary_{side}_source", source) for side, source in sides.sources.items()),
    )
    products = [
        Product("contact table", name, table_at(work, name), about),
        Product("contact objects", f"{name}-objects", table_at(work, f"{name}-objects"), about),
        Product("contact sites", f"{name}-sites", table_at(work, f"{name}-sites"), about),
    ]
    if curve_nm is not None:
        products += [
            Product("contact curve", f"{name}-{what}", table_at(work, f"{name}-{what}"), about)
            for what, _ in CURVES
        ]
    if sites:
        apply = BlockGrid(instances.box, grid.block)
        stages += (
            Map(
                f"{name}/apply",
                site_ids,
                apply,
                (parts,),
                (final,),
                artefacts={"joined": joined},
                working=8.0,
            ),
            *pyramid(final, name),
        )
        products.append(Product("instances", name, final, (("of", f"{name}-sites"),)))
    return Plan(stages, work_folder(work), table_at(work, name), tuple(products))


def _scored(
    instances: Volume,
    other: Volume,
    scores: Given,
    partner_scores: Given,
    classes: tuple[str | int | None, str | int | None],
    *,
    same: bool,
) -> tuple[tuple[tuple[Volume, ...], tuple[Volume, ...]], tuple[Scored, Scored]]:
    """Images of both sides, and how they are read; of one labelling they are read once."""
    if same and partner_scores is not None:
        raise ConfigError("both sides are one labelling, which 'scores' are of; leave out partner_scores")
    a, how_a = scored(scores, instances, "scores", classes[0])
    b, how_b = scored(partner_scores, other, "partner_scores", classes[1])
    return (a, b), (how_a, how_b)


def _class(volume: Volume, wanted: str | int | None) -> int | None:
    number = None if wanted is None else volume.class_number(wanted)
    if number is not None and not 0 < number <= np.iinfo(np.uint32).max:
        raise ConfigError(f"contacts with class {number} do not exist: 0 is background, classes count from 1")
    return number
