"""A run, or a label image, as layers of napari; prompts and painted labels that come back from there.

The world of napari is nm from the first corner of the run's first image, as places in tables and prompts
are: a layer that a person adds knows of no origin, so none may lie between its places and those of prompts.

Nothing here imports napari: a reader gives (data, arguments, kind of layer), a writer takes the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import pyarrow.parquet as pq

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box, Nm, Zyx, zyx
from chunkflow_liver.reports.pictures.samples import levels_of
from chunkflow_liver.reports.pictures.slices import css
from chunkflow_liver.reports.tables import Stored
from chunkflow_liver.store.images import open_volume
from chunkflow_liver.store.ngff.write import PALETTE
from chunkflow_liver.store.prompts import Prompt, write_prompts
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.view.contents import PIECES, PLACED, Contents, Image, contents, place_columns
from chunkflow_liver.view.state import contrast, is_shown, reach

LayerData = tuple[Any, dict[str, Any], str]
OURS = "chunkflow_liver"
"""Under this name a layer's metadata say where its voxels come from."""


class Level(Protocol):
    """What is read a box at a time."""

    @property
    def shape(self) -> Zyx: ...
    @property
    def dtype(self) -> str: ...
    def read(self, box: Box) -> np.ndarray[Any, Any]: ...


class Lazy:
    """Voxels of one level, read where they are looked at; an array as far as a viewer needs one."""

    def __init__(self, volume: Level, step_nm: float | None = None) -> None:
        self.volume, self.step_nm = volume, step_nm
        self.shape = volume.shape
        self.dtype = np.dtype("float32" if step_nm else volume.dtype)
        self.ndim = 3
        self.size = int(np.prod(volume.shape))

    def __getitem__(self, key: Any) -> np.ndarray[Any, Any]:
        given = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in given:
            at = given.index(Ellipsis)
            given[at : at + 1] = [slice(None)] * (4 - len(given))
        given += [slice(None)] * (3 - len(given))
        spans = []
        for one, n in zip(given, self.shape, strict=True):
            if isinstance(one, slice):
                spans.append(range(*one.indices(n)))
            else:
                index = int(one) + (n if int(one) < 0 else 0)
                spans.append(range(index, index + 1))
        if not all(spans):
            found = np.zeros([len(s) for s in spans], self.volume.dtype)
        else:
            low = [min(s[0], s[-1]) for s in spans]
            high = [max(s[0], s[-1]) + 1 for s in spans]
            found = self.volume.read(Box(zyx(low), zyx(high)))
            found = found[np.ix_(*(np.array(s) - a for s, a in zip(spans, low, strict=True)))]
        if self.step_nm:
            found = found.astype(np.float32) * np.float32(self.step_nm)
        return found[tuple(slice(None) if isinstance(one, slice) else 0 for one in given)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return self[:].astype(dtype or self.dtype, copy=False)


def get_reader(path: str | Sequence[str]) -> Callable[[str], list[LayerData]] | None:
    """napari's question whether we read a path: work folders of runs, and label images in OME-Zarr."""
    if not isinstance(path, str):
        return None
    folder = Path(path)
    if (folder / "products.json").exists():
        return lambda one: read_run(Path(one))
    if folder.parent.name == "labels" and ((folder / "zarr.json").exists() or (folder / ".zattrs").exists()):
        return lambda one: [read_labels(Path(one))]
    return None


def read_run(path: Path, pieces: str | None = None) -> list[LayerData]:
    """All layers of a run: images with their levels, rows with a place as points, boxes to paint in.

    Parameters
    ----------
    path : Path
    pieces : str, optional
        Label image that is shown besides those of the run.

    Raises
    ------
    InputError
        If it is no work folder.
    """
    now = contents(path.absolute(), pieces)
    found = [_layer(now, image) for image in now.images.values()]
    for name, table in now.tables.items():
        if table.product.kind in PLACED and (placed := _points(now, name, table)) is not None:
            found.append(placed)
        if table.product.kind == "suggestions" and table.rows:
            found.append(_outlines(now, name, table))
    return found


def read_labels(path: str | Path) -> LayerData:
    """A label image with names, colours and, where it is a result of a run, its table."""
    volume = open_volume(path)
    work = next((p for p in Path(path).absolute().parents if (p / "products.json").exists()), None)
    if work is not None:
        now = contents(work)
        for image in now.images.values():
            if image.finest.url == volume.url:
                return _layer(now, image)
    kind = "semantic" if any(n for _, n in volume.classes) else "instances"
    image = Image(volume.name, kind, levels_of(volume), False)
    return _levels(image), _labels(image, None, image.corner_nm), "labels"


def _levels(image: Image) -> Any:
    step = cast("float | None", image.about.get("quantum_nm"))
    levels = [Lazy(level, step) for level in image.levels]
    return levels if len(levels) > 1 else levels[0]


def world_corner(now: Contents) -> Nm:
    """The corner that the world of napari is measured from."""
    return next((image.corner_nm for image in now.images.values()), (0.0, 0.0, 0.0))


def _frame(volume: Volume, corner: Nm) -> dict[str, Any]:
    """Voxel size and centre of the first voxel, in nm from a corner."""
    at = tuple(o - c for o, c in zip(volume.origin_nm, corner, strict=True))
    return {"scale": volume.voxel_nm, "translate": at, "units": ("nm",) * 3}


def _layer(now: Contents, image: Image) -> LayerData:
    corner = world_corner(now)
    if image.kind == "empty labels":
        return _painting(image, corner)
    if image.kind in ("semantic", "instances", PIECES):
        about = _labels(image, now.measured(image.name), corner) | {"visible": is_shown(now, image)}
        return _levels(image), about, "labels"
    about = {"name": image.name, "multiscale": len(image.levels) > 1, **_frame(image.finest, corner)}
    if image.kind == "raw":
        about |= {"contrast_limits": contrast(image.levels), "colormap": "gray"}
    else:
        high = reach(image) if image.kind == "distance" else 255.0
        about |= {"contrast_limits": (0.0, high), "colormap": "viridis", "opacity": 0.6, "visible": False}
    return _levels(image), about, "image"


def _labels(image: Image, table: Stored | None, corner: Nm) -> dict[str, Any]:
    about: dict[str, Any] = {
        "name": image.name,
        "multiscale": len(image.levels) > 1,
        "visible": image.kind in ("instances", PIECES),
        "opacity": 0.4,
        "metadata": {OURS: {"url": image.finest.url}},
        **_frame(image.finest, corner),
    }
    named = [(name, number) for name, number in image.finest.classes if number]
    if named:
        colours = {number: css(PALETTE[i % len(PALETTE)]) for i, (_, number) in enumerate(named)}
        about["colormap"] = {None: "transparent", 0: "transparent", **colours}
        about["features"] = {"index": [n for _, n in named], "class": [name for name, _ in named]}
    elif table is not None:
        columns = pq.read_table(table.path).to_pandas()
        about["features"] = columns.rename(columns={"label": "index"})
    return about


def _points(now: Contents, name: str, table: Stored) -> LayerData | None:
    columns = place_columns(table.names)
    if columns is None or not table.rows:
        return None
    shift = np.subtract(now.corner_of(table), world_corner(now))
    at = np.stack([table.values(c).astype(np.float64) for c in columns], axis=1) + shift
    features = pq.read_table(table.path).to_pandas()
    image = now.labels_of(table)
    size = 4 * min(image.finest.voxel_nm) if image else 50.0
    about = {
        "name": f"{PLACED[table.product.kind]}: {name}",
        "features": features,
        "size": size,
        "visible": False,
        "units": ("nm",) * 3,
    }
    return at, about, "points"


def _outlines(now: Contents, name: str, table: Stored) -> LayerData:
    """The boxes that `suggest` chose, as a rectangle on each of their slices, where one is to paint."""
    ends = {
        end: np.stack([table.values(f"{a}_{end}_nm") for a in "zyx"], axis=1) for end in ("start", "stop")
    }
    slices = (table.values("z_stop") - table.values("z_start")).astype(np.int64)
    shift = np.subtract(now.corner_of(table), world_corner(now))
    shapes, of = [], []
    for row, (low, high, n) in enumerate(
        zip(ends["start"] + shift, ends["stop"] + shift, slices, strict=True)
    ):
        z = low[0] + (np.arange(n) + 0.5) * (high[0] - low[0]) / n
        sides = [(low[1], low[2]), (low[1], high[2]), (high[1], high[2]), (high[1], low[2])]
        shapes += [np.array([(at, *side) for side in sides]) for at in z]
        of += [row] * int(n)
    features = pq.read_table(table.path, columns=["rank", "why"]).to_pandas().iloc[of].reset_index(drop=True)
    about = {
        "name": f"boxes to paint: {name}",
        "features": features,
        "shape_type": "rectangle",
        "face_color": "transparent",
        "edge_color": "white",
        "edge_width": 2 * float(np.min(ends["stop"] - ends["start"])) / 100,
        "units": ("nm",) * 3,
    }
    return shapes, about, "shapes"


def _painting(image: Image, corner: Nm) -> LayerData:
    """An image to paint in, in memory, so that a brush can change it."""
    volume = image.finest
    about = {
        "name": f"paint: {image.name}",
        "metadata": {OURS: {"url": volume.url, "start": (0, 0, 0)}},
        **_frame(volume, corner),
    }
    return volume.read(), about, "labels"


def write_painted(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Write painted labels back into the image that they were read from; `path` is what napari asks for.

    Raises
    ------
    InputError
        If the layer is of no image of ours, or holds numbers that the image cannot.
    """
    from_where = attributes.get("metadata", {}).get(OURS)
    if from_where is None:
        raise InputError(
            "this layer was not read from a label image of a run: there is nowhere to write it back"
        )
    volume = open_volume(from_where["url"])
    labels = np.asarray(data)
    start = cast(Zyx, tuple(from_where.get("start", (0, 0, 0))))
    box = Box(start, zyx([a + n for a, n in zip(start, labels.shape, strict=True)]))
    if not volume.box.contains(box):
        raise InputError(f"the layer covers {box}, and {volume.url} has {volume.shape} voxels")
    limits = np.iinfo(volume.dtype)
    if labels.min(initial=0) < limits.min or labels.max(initial=0) > limits.max:
        raise InputError(f"the layer holds {labels.max()}, which {volume.dtype} of {volume.url} cannot")
    _paste(volume, box, labels)
    return [volume.url]


def _paste(volume: Volume, box: Box, labels: np.ndarray[Any, Any]) -> None:
    """Write a box of any corners: the units that it cuts are read, changed and written whole."""
    unit = volume.write_unit
    low = [a // u * u for a, u in zip(box.start, unit, strict=True)]
    for z in range(low[0], box.stop[0], unit[0]):
        for y in range(low[1], box.stop[1], unit[1]):
            for x in range(low[2], box.stop[2], unit[2]):
                whole = Box((z, y, x), (z + unit[0], y + unit[1], x + unit[2])).clip(volume.box)
                part = whole.clip(box)
                voxels = volume.read(whole)
                voxels[part.relative_to(whole).slices] = labels[part.relative_to(box).slices]
                volume.write(whole, voxels)


def write_points(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Write a points layer as prompts; the feature 'object' says whose a point is, 'inside' on which side.

    Raises
    ------
    InputError, OutputError
        If the points are not in three dimensions, or the file exists.
    """
    places = _in_nm(np.asarray(data, float), attributes)
    features = attributes.get("features", {})
    objects = _feature(features, "object", len(places), "1")
    inside = _feature(features, "inside", len(places), True)
    by: dict[tuple[str, float], list[tuple[float, float, bool]]] = {}
    for (z, y, x), name, side in zip(places, objects, inside, strict=True):
        by.setdefault((str(name), float(z)), []).append((float(y), float(x), bool(side)))
    return [str(write_prompts([Prompt(name, z, points_nm=tuple(at)) for (name, z), at in by.items()], path))]


def write_boxes(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Write rectangles of a shapes layer, each on one slice, as prompts.

    Raises
    ------
    InputError, OutputError
        If a shape reaches over slices, or the file exists.
    """
    objects = _feature(attributes.get("features", {}), "object", len(data), None)
    prompts = []
    for number, shape in enumerate(data):
        corners = _in_nm(np.asarray(shape, float), attributes)
        if np.ptp(corners[:, 0]) > 1e-6:
            raise InputError(f"shape {number + 1} reaches over several slices; draw each box on one")
        (z, y, x), (_, y2, x2) = corners.min(axis=0), corners.max(axis=0)
        name = str(number + 1) if objects[number] is None else str(objects[number])
        prompts.append(Prompt(name, float(z), box_nm=(float(y), float(x), float(y2), float(x2))))
    return [str(write_prompts(prompts, path))]


def _in_nm(places: np.ndarray[Any, Any], attributes: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """Places of a layer in the world of napari: nm from the volume's first corner."""
    if places.ndim != 2 or places.shape[1] != 3:
        raise InputError(f"prompts lie in three dimensions (z, y, x), got places of shape {places.shape}")
    scale = np.asarray(attributes.get("scale", (1, 1, 1)), float)[-3:]
    found: np.ndarray[Any, Any] = (
        places * scale + np.asarray(attributes.get("translate", (0, 0, 0)), float)[-3:]
    )
    return found


def _feature(features: Any, name: str, n: int, absent: Any) -> list[Any]:
    known = list(features[name]) if name in features else []
    return known if len(known) == n else [absent] * n
