"""Operations on an image of classes, its instances and intensities, whole or in part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from strategies import VOXEL_NM, components, write

import chunkflow_liver as cf
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.volume import Volume

SHAPE, REGION = (10, 14, 15), Box((1, 2, 3), (9, 10, 12))
CORNERS = tuple(
    tuple(n * v for n, v in zip(end, VOXEL_NM, strict=True)) for end in (REGION.start, REGION.stop)
)


class Case:
    """An image of classes, its instances and intensities, whole or in part."""

    def __init__(self, folder: Path, seed: int) -> None:
        rng = np.random.default_rng(seed)
        # Larger objects than single voxels: opening leaves some, and narrowings have a line.
        smooth = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 1.2)
        self.classes = np.digitize(smooth, np.quantile(smooth, [0.45, 0.75])).astype(np.uint8)
        self.instances = components(self.classes, 6, [1]).astype(np.uint16)
        self.raw = rng.integers(0, 200, SHAPE).astype(np.uint8)
        self.folder = folder
        inside = np.zeros(SHAPE, np.uint8)
        inside[REGION.slices] = 1
        self.mask = write(folder, inside, "mask", kind="label")

    def volumes(self, how: str) -> dict[str, Volume]:
        """The same voxels: in a box of the volume, in a mask, or cut out into a volume of their own."""
        found = {}
        for what in ("classes", "instances", "raw"):
            array, name = getattr(self, what), f"{what}-{how}"
            if how == "alone":
                array = np.ascontiguousarray(array[REGION.slices])
            options: dict[str, Any] = {"kind": "image" if what == "raw" else "label"}
            if what == "classes":
                options["classes"] = (("mitochondrion", 1), ("er", 2))
            found[what] = write(self.folder, array, name, **options)
            if how != "alone":
                found[what] = found[what].within(CORNERS if how == "box" else self.mask)
        return found


def largest(array: Any, *, voxel_nm: Any) -> Any:
    """Objects of a block, for `stitch`."""
    return ndimage.label(array > 100)[0].astype(np.uint32)


NEAR = cf.Near(gap_nm=15.0, window_nm=12.0, permutations=9, draws=9)
SHAPES = cf.Shapes(smooth_nm=8.0, open_nm=9.0, close_nm=9.0, fill_holes=True)
SIGNED = cf.DistanceOptions(signed=True)
OPERATIONS: dict[str, Any] = {
    "label": lambda v, at: cf.label(v["classes"], classes=["mitochondrion"], name="x", **at),
    "link": lambda v, at: cf.link(v["instances"], name="x", work=at["work"], block=at["block"]),
    "split": lambda v, at: cf.split(
        v["classes"], classes=["mitochondrion"], depth_nm=6.0, cap_nm=30.0, halo_nm=400.0, name="x", **at
    ),
    "split, smoothed": lambda v, at: cf.split(
        v["classes"],
        classes=["mitochondrion"],
        depth_nm=3.0,
        cap_nm=40.0,
        mask_smooth_nm=4.0,
        distance_smooth_nm=6.0,
        opening_nm=5.0,
        fill_nm=40.0,
        halo_nm=400.0,
        name="x",
        **at,
    ),
    "split, at walls": lambda v, at: cf.split(
        v["classes"],
        classes=["mitochondrion"],
        depth_nm=3.0,
        cap_nm=40.0,
        boundary=v["raw"],
        halo_nm=400.0,
        name="x",
        **at,
    ),
    "split, in slices": lambda v, at: cf.split(
        v["classes"],
        classes=["mitochondrion"],
        depth_nm=3.0,
        cap_nm=40.0,
        mode="slices",
        fill_nm=40.0,
        halo_nm=400.0,
        name="x",
        **at,
    ),
    "stitch": lambda v, at: cf.stitch(v["raw"], largest, halo_nm=400.0, name="x", **at),
    "refine": lambda v, at: cf.refine(
        v["instances"], shapes=SHAPES, keep=cf.Keep(border=False), name="x", **at
    ),
    "refine, all kept": lambda v, at: cf.refine(v["instances"], shapes=SHAPES, name="x", **at),
    "distance": lambda v, at: cf.distance(v["classes"], to="er", cap_nm=30.0, name="x", **at),
    "distance, signed": lambda v, at: cf.distance(
        v["classes"], to="er", cap_nm=30.0, options=SIGNED, name="x", **at
    ),
    "distance, to instances": lambda v, at: cf.distance(
        v["instances"], cap_nm=30.0, options=cf.DistanceOptions(signed=True, nearest=True), name="x", **at
    ),
    "contacts": lambda v, at: cf.contacts(
        v["instances"],
        v["classes"],
        to="er",
        gap_nm=15.0,
        curve_nm=20.0,
        sites=True,
        centres=True,
        name="x",
        **at,
    ),
    "contacts, of one set": lambda v, at: cf.contacts(
        v["instances"], v["instances"], gap_nm=15.0, name="x", **at
    ),
    "profiles": lambda v, at: cf.profiles(
        v["instances"],
        v["classes"],
        to="er",
        cap_nm=25.0,
        shells_nm=[8.0, 16.0],
        parents=v["instances"],
        name="x",
        **at,
    ),
    "distance, without a cap": lambda v, at: cf.distance(v["classes"], to="er", cap_nm=None, name="x", **at),
    "contacts, nearest": lambda v, at: cf.contacts(
        v["instances"], v["classes"], to="er", gap_nm=4.0, nearest=True, name="x", **at
    ),
    "contacts of one set, nearest": lambda v, at: cf.contacts(
        v["instances"], v["instances"], gap_nm=0.0, nearest=True, name="x", **at
    ),
    "profiles, nearest": lambda v, at: cf.profiles(
        v["instances"], v["classes"], to="er", cap_nm=8.0, nearest=True, name="x", **at
    ),
    "measure": lambda v, at: cf.measure(
        v["instances"],
        raw=v["raw"],
        features=["basic", "surface", "shape", "firstorder", "morphology", "glcm", "skeleton"],
        parents=v["instances"],
        name="x",
        **at,
    ),
    "narrowing": lambda v, at: cf.narrowing(v["instances"], er=v["classes"], near=NEAR, name="x", **at),
    "evaluate": lambda v, at: cf.evaluate(v["instances"], v["instances"], iou=0.5, name="x", **at),
    "evaluate, classes": lambda v, at: cf.evaluate(
        v["classes"], v["classes"], surfaces_nm=(4.0, 30.0), per_slice=True, name="x", **at
    ),
}


def zonation_of(v: dict[str, Volume], at: Any) -> Any:
    maps = [cf.distance(v["classes"], to=to, cap_nm=None, name=to, **at) for to in ("er", "mitochondrion")]
    plan = cf.zonation(v["instances"], [m.output for m in maps], name="x", **at)
    return maps[0] + maps[1] + plan


def duct_of(v: dict[str, Volume], at: Any) -> Any:
    along = cf.geodesic(v["classes"], to="er", inside=["mitochondrion"], name="along", **at)
    away = cf.distance(v["classes"], to="er", cap_nm=60.0, name="away", **at)
    plan = cf.duct(
        v["instances"],
        v["classes"],
        along.output,
        away.output,
        lumen="mitochondrion",
        step_nm=32.0,
        name="x",
        **at,
    )
    return along + away + plan


OPERATIONS |= {
    "domains": lambda v, at: cf.domains(v["instances"], v["classes"], to=["er"], gap_nm=8.0, name="x", **at),
    "geodesic": lambda v, at: cf.geodesic(
        v["classes"], to="er", inside=["mitochondrion"], gap_nm=9.0, name="x", **at
    ),
    "geodesic, in instances": lambda v, at: cf.geodesic(
        v["instances"], v["classes"], to="er", name="x", **at
    ),
    "fenestrae": lambda v, at: cf.fenestrae(
        v["classes"], lumen="er", wall="mitochondrion", limits_nm=(16, 64), name="x", **at
    ),
    "network": lambda v, at: cf.network(
        v["classes"], classes=["mitochondrion"], widest_nm=60, name="x", **at
    ),
    "zonation": zonation_of,
    "duct": duct_of,
    "calibrate": lambda v, at: cf.calibrate(v["raw"], v["classes"], to="er", cap_nm=40.0, name="x", **at),
}
# Where an object is laid depends on cubes from the volume's first corner.
LAID = {
    "placement": lambda v, at: cf.placement(
        v["instances"],
        v["classes"],
        to="er",
        chance=cf.Chance(gap_nm=10.0, cap_nm=20.0, placements=9, tries=400),
        name="x",
        **at,
    )
}
