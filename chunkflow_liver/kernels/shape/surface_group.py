"""The group 'surface': area of every object, how near it is to a ball, and how sure its volume is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chunkflow_liver.geometry import NM_PER_UM, BlockGrid, Nm, Zyx
from chunkflow_liver.kernels.contacts.areas import area_step_nm2, reach_voxels, surface_areas, walled
from chunkflow_liver.kernels.distance.local_errors import (
    Stack,
    error_rows,
    errors_nm,
    local_errors,
    no_errors,
    sampled,
)
from chunkflow_liver.kernels.features.groups import Group, Settings, Sums, View
from chunkflow_liver.kernels.rows import Rows, added
from chunkflow_liver.xp import Array

_FEW = 1 << 12
"""Voxels of an object, up to which all of its surface says how sure it is."""
_TILE = (16, 64, 128)
"""What is looked at at a time: where all voxels are surface, a tile takes 15 MB."""


def area_sums(view: View) -> Sums:
    """The surface of every object, as far as the block owns its voxels.

    Parameters
    ----------
    view : View
        A block with the halo `reach_voxels`; what lies outside its `region`, or is `hidden`, is unknown.

    Returns
    -------
    dict
        `areas`: rows of `label` and `steps` (int64, of `area_step_nm2`); none for an object without surface.
        With images `errors`: rows of `error_rows`.
    """
    errors = [] if view.images is None else [no_errors("label")]
    block = view.block if view.region is None else view.block.within(view.region)
    rows = [{"label": np.zeros(0, np.uint64), "steps": np.zeros(0, np.int64)}]
    if block.write.size:
        inner = block.read.relative_to(view.block.read).slices
        outlined, values = walled(view.labels[inner], None if view.hidden is None else view.hidden[inner])
        images = [image.within(inner) for image in view.images or ()]
        own = np.ascontiguousarray(outlined[1:-1, 1:-1, 1:-1]) if images else outlined
        stack = Stack.of(images) if images else None
        most_nm = view.settings.boundary.largest_nm(math.prod(view.voxel_nm) ** (1 / 3))
        for tile in BlockGrid(block.write.relative_to(block.read), _TILE):
            at, area = surface_areas(outlined, (tile.write.start, tile.write.stop), view.voxel_nm)
            # 2**24 steps of each voxel at most: sums are below 2**63.
            found, of = np.unique(outlined[tuple(at + 1)], return_inverse=True)
            steps = np.zeros(len(found), np.int64)
            np.add.at(steps, of, area)
            label = found if values is None else values[found - 1]
            rows.append({"label": label.astype(np.uint64), "steps": steps})
            if stack is not None:
                ids = label.astype(np.uint64)
                few = (view.objects["voxels"][view.rank(ids)] < _FEW)[of]
                kept = few | sampled(at, block.read.start)
                sums = local_errors(own, at[:, kept], stack, view.voxel_nm, most_nm)
                errors.append(error_rows({"label": ids[of[kept]]}, sums))
    made = {"areas": added(rows, ("label",))}
    return made | ({"errors": added(errors, ("label",))} if errors else {})


def merge_areas(parts: Sequence[Sums]) -> Sums:
    """The sums of several blocks as one; exact, in any order."""
    return {name: added([part[name] for part in parts], ("label",)) for name in parts[0]}


def describe_areas(sums: Sums, objects: Rows, voxel_nm: Nm, settings: Settings) -> Rows:
    """Surface and sphericity of whole objects, and how far their volumes may be off.

    Parameters
    ----------
    sums : dict of dict of ndarray
        What `merge_areas` gave for these objects.
    objects : dict of ndarray of shape (L,)
        Columns of 'basic'.
    voxel_nm : tuple of float
        Voxel size along (z, y, x), in nm.
    settings : Settings
        Its `boundary`.

    Returns
    -------
    dict of ndarray of shape (L,), float64
        `surface_um2`: area as of contacts, see `kernels.surface_areas`; the volume's end is no surface.
        `sphericity`: area of a ball of the object's volume over that [1]_, 1 for a ball; NaN for an object
        that touches the border, whose surface is not known as a whole. `volume_low_um3`, `volume_high_um3`:
        the volume less and more a layer on all of the surface, as thick as the mean place of the boundary
        may be off (95 %; averaged as over a ball of the same volume), or as half a voxel. With images
        `boundary_nm`, `boundary_scored` and `boundary_capped_fraction`.

    References
    ----------
    .. [1] Wadell, Volume, shape and roundness of quartz particles, J. Geology 43 (1935), doi:10.1086/624298
    """
    steps = np.zeros(len(objects["label"]), np.int64)
    found = sums["areas"]
    steps[np.searchsorted(objects["label"], found["label"])] = found["steps"]
    surface = steps * (area_step_nm2(voxel_nm) / NM_PER_UM**2)
    ball = np.cbrt(np.pi) * np.cbrt(6 * objects["volume_um3"]) ** 2
    whole = ~objects["touches_border"].astype(bool) & (surface > 0)
    sphericity = np.divide(ball, surface, out=np.full(len(steps), np.nan), where=whole)
    volume = objects["volume_um3"]
    radius_nm = np.cbrt(volume * (3 / (4 * np.pi))) * NM_PER_UM
    pitch_nm = math.prod(voxel_nm) ** (1 / 3)
    errors = _errors(sums, objects["label"], settings.boundary.largest_nm(pitch_nm))
    layer = surface * settings.boundary.ball_nm(radius_nm, pitch_nm, errors.get("boundary_nm")) / NM_PER_UM
    return errors | {
        "surface_um2": surface,
        "sphericity": sphericity,
        "volume_low_um3": np.maximum(volume - layer, 0.0),
        "volume_high_um3": volume + layer,
    }


def _errors(sums: Sums, label: Array, most_nm: float) -> Rows:
    """Columns on how sure the boundaries are, where images say it."""
    if "errors" not in sums:
        return {}
    rows, found = sums["errors"], {n: np.zeros(len(label), np.int64) for n in ("weight", "squares", "capped")}
    for name, column in found.items():
        column[np.searchsorted(label, rows["label"])] = rows[name]
    nm = errors_nm(found, most_nm)
    capped = np.where(np.isnan(nm), np.nan, found["capped"] / np.maximum(found["weight"], 1))
    return {"boundary_nm": nm, "boundary_scored": ~np.isnan(nm), "boundary_capped_fraction": capped}


def _reach(settings: Settings, voxel_nm: Nm) -> tuple[Zyx, Zyx]:
    halo = reach_voxels(voxel_nm)
    return halo, halo


SURFACE = Group(
    area_sums,
    merge_areas,
    describe_areas,
    reach=_reach,
    working=36.0,
    units={
        "surface_um2": "micrometer^2",
        "sphericity": "",
        "volume_low_um3": "micrometer^3",
        "volume_high_um3": "micrometer^3",
        "boundary_nm": "nanometer",
        "boundary_capped_fraction": "",
    },
)
