"""Where an image is painted already, as the sources of a training say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.ops.steps.place import checked_labels
from chunkflow_liver.store.images import inspect, open_volume
from chunkflow_liver.store.location import absolute
from chunkflow_liver.store.volume import Volume

Corners = tuple[tuple[float, float, float], tuple[float, float, float]]
"""First and opposite corner (z, y, x), in nm from the volume's first corner."""


def painted_parts(
    sources: Sequence[Mapping[str, Any]], image: str, frame: Volume
) -> tuple[list[Corners], list[tuple[Volume, int]], int]:
    """Boxes of an image that are painted, labels of which some number is not, and how many sources are of it.

    Parameters
    ----------
    sources : sequence of mapping
        As `train` takes them.
    image : str
        URL of the image; sources of others are passed over.
    frame : Volume
        On whose voxels labels without slices and boxes have to lie.

    Raises
    ------
    ConfigError, InputError
        If a source names no image and labels, all of the image is painted, or labels cannot be read.
    """
    boxes: list[Corners] = []
    masks: list[tuple[Volume, int]] = []
    mine = 0
    for i, source in enumerate(sources):
        if not isinstance(source, Mapping) or not {"image", "labels"} <= source.keys():
            got = sorted(source) if isinstance(source, Mapping) else type(source).__name__
            raise ConfigError(f"source {i} of a training needs 'image' and 'labels'; got {got}")
        if absolute(source["image"]) != image:
            continue
        mine += 1
        slices, given, ignore = (source.get(key) for key in ("slices", "boxes_nm", "ignore"))
        if slices is None and given is None:
            if ignore is None:
                raise InputError(
                    f"source {i}: all of {image} is painted, so there is nothing to suggest; else say which "
                    "'slices' or 'boxes_nm' are, or the number of voxels that are not ('ignore')"
                )
            masks.append((_on(frame, source["labels"], i), ignore))
            continue
        labels = open_volume(source["labels"])
        extent = tuple(n * v for n, v in zip(labels.shape, labels.voxel_nm, strict=True))
        thick = labels.voxel_nm[0]
        boxes += [((z * thick, 0.0, 0.0), ((z + 1) * thick, *extent[1:])) for z in slices or ()]
        try:
            boxes += [(_corner(first), _corner(last)) for first, last in given or ()]
        except (TypeError, ValueError) as err:
            raise ConfigError(
                f"source {i}: a box is two corners (z, y, x) in nm, as [[0, 0, 0], [400, 2000, 2000]]; got "
                f"{given!r}"
            ) from err
    return boxes, masks, mine


def _corner(values: Sequence[float]) -> tuple[float, float, float]:
    z, y, x = values
    return float(z), float(y), float(x)


def _on(frame: Volume, path: Any, i: int) -> Volume:
    """The level of labels that has the voxels of `frame`."""
    first = open_volume(path)
    same = [v for v in inspect(first.url)[1] if v.shape == frame.shape]
    if not same:
        raise InputError(
            f"source {i}: no level of {first.url} has the {frame.shape} voxels of {frame.url}, so nobody can "
            "tell where it is painted; name the 'slices' or 'boxes_nm' that are"
        )
    return checked_labels(same[0], "labels")
