"""OME-Zarr metadata to write: image groups, label colours and properties, pyramid shapes.

The entries are built as plain JSON; those of 0.4 and 0.5 are validated by yaozarrs' models before they are
stored, and 0.6 says the same in other words.
"""

from __future__ import annotations

import math
from typing import Any, cast

from chunkflow_liver.geometry import Nm, Zyx
from chunkflow_liver.store.ngff.versions import SPACE, VERSIONS

SYSTEM = "physical"
"""Name of the coordinate system of our images."""
METHODS = {
    "mean": "each voxel is the mean of those of the level before that it covers",
    "mode": "each voxel is the most frequent label of those it covers, the smallest of several",
}
"""How coarser levels are made."""


def image_attributes(
    *,
    version: str,
    name: str,
    axes: tuple[str, ...],
    levels: list[tuple[str, Nm, Nm]],
    label: dict[str, Any] | None,
    method: str,
    metadata: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Attributes of an image group, built and validated.

    Parameters
    ----------
    version : {'0.4', '0.5', '0.6'}
        OME-Zarr version to write.
    name : str
        Name of the image.
    axes : tuple of str
        Axes of the arrays; extra axes before 'zyx' have scale 1.
    levels : list of (path, voxel_nm, origin_nm)
        Levels, finest first.
    label : dict or None
        The 'image-label' entry of a label image.
    method : str
        How coarser levels were made ('mean' or 'mode').
    metadata : dict, optional
        More about that; by default what `METHODS` says.
    """
    types = {"t": "time", "c": "channel"}
    multiscale: dict[str, Any] = {
        "name": name,
        "axes": [
            {"name": a, "type": types[a]} if a in types else {"name": a, "type": "space", "unit": "nanometer"}
            for a in axes
        ],
        "datasets": [
            {
                "path": path,
                "coordinateTransformations": [
                    {"type": "scale", "scale": _spread(axes, voxel, 1.0)},
                    {"type": "translation", "translation": _spread(axes, origin, 0.0)},
                ],
            }
            for path, voxel, origin in levels
        ],
        "type": method,
        "metadata": metadata or {"description": METHODS[method]},
    }
    ome: dict[str, Any] = {"multiscales": [multiscale]}
    if label is not None:
        ome["image-label"] = label
    return attributes_of(ome, version)


def attributes_of(ome: dict[str, Any], version: str) -> dict[str, Any]:
    """Attributes of an image group whose metadata `ome` are given in the words of 0.5, for `version`."""
    if version == "0.4":
        first, *others = ome["multiscales"]
        ome = ome | {"multiscales": [first | {"version": "0.4"}, *others]}
        if "image-label" in ome:
            ome["image-label"] = {"version": "0.4", **ome["image-label"]}
        check_ome(ome, version)
        return ome
    check_ome(ome | {"version": "0.5"}, "0.5")
    if VERSIONS[version].systems:
        ome = ome | {"multiscales": [_in_system(image) for image in ome["multiscales"]]}
    return {"ome": ome | {"version": version}}


def check_ome(ome: dict[str, Any], version: str) -> None:
    """Have image metadata of 0.4 or 0.5 checked by yaozarrs' models, which know no 0.6."""
    from yaozarrs import v04, v05

    models = {"0.4": v04, "0.5": v05}
    if version in models:
        model = models[version]
        (model.LabelImage if "image-label" in ome else model.Image).model_validate(ome)


def _in_system(image: dict[str, Any]) -> dict[str, Any]:
    """A 'multiscales' entry of 0.5 as one of 0.6: axes are those of the system that levels lie in."""
    kept = {k: v for k, v in image.items() if k not in ("axes", "datasets")}
    placed = [
        {
            "path": level["path"],
            "coordinateTransformations": [
                {
                    "type": "sequence",
                    "input": {"path": level["path"]},
                    "output": {"name": SYSTEM},
                    "transformations": level["coordinateTransformations"],
                }
            ],
        }
        for level in image["datasets"]
    ]
    return kept | {"coordinateSystems": [{"name": SYSTEM, "axes": image["axes"]}], "datasets": placed}


def _spread(axes: tuple[str, ...], values: Nm, other: float) -> list[float]:
    by_name = dict(zip(SPACE, values, strict=True))
    return [by_name.get(a, other) for a in axes]


PALETTE = (
    (230, 85, 60),
    (70, 140, 220),
    (245, 195, 60),
    (110, 190, 100),
    (160, 100, 200),
    (240, 140, 190),
    (90, 200, 200),
    (170, 120, 70),
)


def label_entry(classes: tuple[tuple[str, int], ...], source: str | None) -> dict[str, Any]:
    """The 'image-label' entry: colours and properties per class, and the image it was made from."""
    entry: dict[str, Any] = {
        "colors": [
            {"label-value": number, "rgba": [*PALETTE[i % len(PALETTE)], 255]}
            for i, (_, number) in enumerate(classes)
        ],
        "properties": [{"label-value": number, "class": name} for name, number in classes],
    }
    if not classes:
        # No colours: napari draws ids that a list of them leaves out transparent, and all others by itself.
        entry = {"properties": [{"label-value": 0, "class": "background"}]}
    if source is not None:
        entry["source"] = {"image": source}
    return entry


def pyramid_factors(shape: Zyx, voxel_nm: Nm, levels: int | None) -> list[Zyx]:
    """Cumulative reduction of every level, beginning with (1, 1, 1).

    An axis is halved when its voxels are less than twice the smallest, so that anisotropic volumes
    become isotropic before z is touched. Without `levels`, stops when the largest side is <= 256.
    """
    factors: list[Zyx] = [(1, 1, 1)]
    while levels is None or len(factors) < levels:
        last = factors[-1]
        sides = [math.ceil(n / f) for n, f in zip(shape, last, strict=True)]
        if levels is None and max(sides) <= 256:
            break
        sizes = [v * f for v, f in zip(voxel_nm, last, strict=True)]
        finest = min(s for s, n in zip(sizes, sides, strict=True) if n > 1) if max(sides) > 1 else 0.0
        nexts = tuple(
            f * 2 if n > 1 and s < 2 * finest else f for f, s, n in zip(last, sizes, sides, strict=True)
        )
        if nexts == last:
            break
        factors.append(cast(Zyx, nexts))
    return factors
