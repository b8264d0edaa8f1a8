"""Pictures of planes: the raw image, and classes, instances and distances drawn over it."""

from __future__ import annotations

import base64
import contextlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Product
from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.reports.pictures.depths import fullest
from chunkflow_liver.reports.pictures.planes import Pixels, View, corner_nm, read_plane, views
from chunkflow_liver.reports.pictures.samples import levels_of
from chunkflow_liver.reports.words import one
from chunkflow_liver.reports.work import Work, exists
from chunkflow_liver.store.ngff.write import PALETTE
from chunkflow_liver.store.volume import Volume

WIDTH = TALLEST = 600.0
"""Most width and height of a picture, in pixels of the page; its shape is that of the plane in nm."""
NARROWEST = 120.0
"""Least width, however tall the plane is, so that the scale bar can be read."""
COLOURMAP = "viridis"
BEYOND = (60, 60, 66)
UNKNOWN = (150, 150, 150)
SITES = (255, 225, 40)
SCORE_COLOURS = "inferno"
SCORE_OF_ONE = 255
"""What stands for 1 in an image of scores or uncertainty."""
DRAWN = ("semantic", "instances", "distance", "score")


@dataclass(frozen=True)
class Layer:
    """One product that is drawn: its pyramid and, of a distance, cap and flags.

    Contact sites lie on the classes that touch, `under`; without them nobody sees what they are between.
    """

    kind: str
    name: str
    levels: tuple[Volume, ...]
    cap_nm: float = 0.0
    to: str = ""
    flags: tuple[Volume, ...] = ()
    quantum_nm: float | None = None
    under: tuple[Volume, ...] = ()

    def nm(self, values: Pixels) -> Pixels:
        """Stored distances in nm, infinite beyond the cap."""
        if self.quantum_nm is None:
            return values
        beyond = np.abs(values.astype(np.int64)) >= np.iinfo(values.dtype).max
        return np.where(beyond, np.inf, values * np.float32(self.quantum_nm)).astype(np.float32)

    @property
    def legend(self) -> tuple[tuple[str, str], ...]:
        """(class name, CSS colour) of a semantic layer."""
        return tuple(
            (one(n), css(PALETTE[i % len(PALETTE)])) for i, (n, _) in enumerate(self.levels[0].classes)
        )


@dataclass(frozen=True)
class Panel:
    """One picture; `raw` is the id of the grey image under it, `over` a data URI, '' for none."""

    layer: Layer | None
    raw: str
    over: str
    width: float
    height: float
    bar: float
    bar_nm: float
    missing: str = ""


@dataclass(frozen=True)
class Row:
    """The pictures of one view."""

    view: View
    share: float
    panels: tuple[Panel, ...]


@dataclass
class Pictures:
    """All pictures: per plane its rows; grey images (data URI, width, height) by id; what is missing and why.

    `frame` is the finest level there is, `worked` the first of what the run made or was given.
    """

    planes: list[tuple[str, list[Row]]] = field(default_factory=list)
    grey: dict[str, tuple[str, float, float]] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    black: float = 0.0
    white: float = 1.0
    cropped: bool = False
    frame: Volume | None = None
    worked: Volume | None = None


def css(colour: Sequence[int]) -> str:
    """A colour as '#rrggbb'."""
    return "#" + "".join(f"{c:02x}" for c in colour)


def gradient() -> list[str]:
    """Nine colours of the distance map, from 0 to the cap."""
    import matplotlib as mpl

    return [css([int(255 * c) for c in mpl.colormaps[COLOURMAP](i / 8)[:3]]) for i in range(9)]


def score_gradient() -> list[str]:
    """Nine colours of a score, from 0, which is clear, to 1."""
    shares = np.linspace(0, 1, 9) * SCORE_OF_ONE
    colours = score_colours(shares[None], np.ones((1, 9), bool))[0].tolist()
    return [f"rgba({r},{g},{b},{a / 255:.2f})" for r, g, b, a in colours]


def pictures(work: Work) -> Pictures:
    """Pictures of three orthogonal planes, each at three depths where most is to be seen."""
    found = Pictures()
    raw = raw_levels(work, found.problems)
    for product in (p for kind in DRAWN for p in work.of(kind)):
        layer = layer_of(work, product, found.problems)
        if layer is not None:
            found.layers.append(layer)
    pyramids = [layer.levels for layer in found.layers]
    if not pyramids and raw is None:
        return found
    found.frame = pyramids[0][0] if pyramids else (raw or ())[0]
    found.worked = next((p.handle for p in work.products if isinstance(p.handle, Volume)), None)
    labels = [layer.levels for layer in found.layers if layer.kind in ("instances", "semantic")]
    chosen = views(found.frame, [*pyramids, *([raw] if raw else [])], fullest(labels))
    if raw:
        _contrast(raw, [view for depths in chosen for view in depths], found)
    for at_depths in chosen:
        rows = [_row(view, raw, found) for view in at_depths]
        found.planes.append((at_depths[0].plane, rows))
    biggest = max(n * v for n, v in zip(found.frame.shape, found.frame.voxel_nm, strict=True))
    found.cropped = max(max(v[0].size_nm) for v in chosen) < biggest * 0.999
    found.problems[:] = list(dict.fromkeys(found.problems))
    return found


def raw_levels(work: Work, problems: list[str]) -> tuple[Volume, ...] | None:
    """The raw image: a product, or the image that a label volume says it was made from."""
    for product in work.of("raw"):
        handle = product.handle
        if isinstance(handle, Volume):
            try:
                return levels_of(handle)
            except (ChunkflowLiverError, OSError) as err:
                problems.append(f"The raw image {product.name!r} cannot be read: {err}")
    for product in work.products:
        if isinstance(product.handle, Volume) and product.handle.source:
            source = Volume(product.handle.source, "0", (1, 1, 1), "uint8", (1, 1, 1), (1, 1, 1))
            try:
                return levels_of(source)
            except (ChunkflowLiverError, OSError):
                continue
    problems.append("No raw image is known to this run, so the overlays lie on plain grey.")
    return None


def layer_of(work: Work, product: Product, problems: list[str]) -> Layer | None:
    """The layer of a product; None of tables and what is not written, which is added to `problems`."""
    about = dict(product.about)
    if not isinstance(product.handle, Volume):
        return None
    if not exists(product):
        problems.append(f"{product.kind.capitalize()} {product.name!r} is not written yet.")
        return None
    try:
        levels = levels_of(product.handle)
        flags = next((p for p in work.of("exact") if dict(p.about).get("of") == product.name), None)
        known = flags is not None and isinstance(flags.handle, Volume) and exists(flags)
        cap_nm = float(about.get("cap_nm", 0.0))
        if product.kind == "distance" and not cap_nm:
            coarse = levels[-1].read(levels[-1].box)
            # Without a cap the colours end at a round number beyond the largest distance.
            cap_nm = 10.0 * np.ceil(np.max(coarse, initial=0.0, where=np.isfinite(coarse)) / 10.0)
        return Layer(
            product.kind,
            product.name,
            levels,
            cap_nm,
            str(about.get("to", "")),
            levels_of(flags.handle) if known and flags else (),  # type: ignore[arg-type]
            about.get("quantum_nm"),
            _under(work, product),
        )
    except (ChunkflowLiverError, OSError) as err:
        problems.append(f"{product.kind.capitalize()} {product.name!r} cannot be read: {err}")
        return None


def _under(work: Work, product: Product) -> tuple[Volume, ...]:
    """Levels of the classes that contact sites are with; none for other products and other partners."""
    of = dict(product.about).get("of")
    to = next((dict(p.about).get("b") for p in work.of("contact sites") if p.name == of), None)
    for classes in work.of("semantic"):
        handle = classes.handle
        if to and isinstance(handle, Volume) and to in dict(handle.classes) and exists(classes):
            return levels_of(handle)
    return ()


def _contrast(raw: Sequence[Volume], planes: Sequence[View], found: Pictures) -> None:
    """One black and one white point for all pictures: 0.5 and 99.5 % of all planes that are shown.

    A single plane may lie in a wall, in padding, or be a bad slice. Where both points are equal (labels,
    few bright voxels) they are the extremes.
    """
    values = []
    for view in planes:
        # A plane that cannot be read is told of where it is drawn.
        with contextlib.suppress(ChunkflowLiverError):
            plane, inside = read_plane(raw, view)
            values.append(plane[inside & np.isfinite(plane)].astype(np.float64))
    picked = np.concatenate(values) if values else np.zeros(0)
    if picked.size:
        found.black, found.white = (float(v) for v in np.percentile(picked, [0.5, 99.5]))
        if found.black == found.white:
            found.black, found.white = float(picked.min()), float(picked.max())


def _row(view: View, raw: Sequence[Volume] | None, found: Pictures) -> Row:
    frame = found.frame
    low = corner_nm(frame, view.across) if frame else 0.0
    depth = frame.shape[view.across] * frame.voxel_nm[view.across] if frame else 1.0
    share = (view.at_nm - low) / depth
    shape = view.size_nm[0] / view.size_nm[1]
    width = min(WIDTH, max(NARROWEST, TALLEST / shape))
    height = width * shape
    bar_nm = scale_bar_nm(view.size_nm[1])
    bar = width * bar_nm / view.size_nm[1]
    key = ""
    if raw:
        try:
            key = f"em-{view.plane}-{round(100 * share)}"
            found.grey[key] = (_grey(*read_plane(raw, view), found), width, height)
        except ChunkflowLiverError as err:
            key = ""
            found.problems.append(f"A plane of the raw image cannot be read: {err}")
    panels = [Panel(None, key, "", width, height, bar, bar_nm)] if key else []
    for layer in found.layers:
        try:
            over, missing = _png(drawn_on(layer, view)), ""
        except ChunkflowLiverError as err:
            over, missing = "", str(err)
            found.problems.append(f"{layer.kind.capitalize()} {layer.name!r} is not shown in full: {err}")
        panels.append(Panel(layer, key, over, width, height, bar, bar_nm, missing))
    return Row(view, share, tuple(panels))


def scale_bar_nm(width_nm: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is at most a quarter of the width, in nm."""
    most = width_nm / 4
    power = 10.0 ** math.floor(math.log10(most))
    return max(f * power for f in (1, 2, 5) if f * power <= most * (1 + 1e-9))


def _grey(values: Pixels, inside: Pixels, found: Pictures) -> str:
    from PIL import Image

    span = max(found.white - found.black, 1e-9)
    grey = np.clip((np.nan_to_num(values.astype(np.float32)) - found.black) / span, 0, 1) * 255
    out = io.BytesIO()
    Image.fromarray(np.where(inside, grey, 128).astype(np.uint8)).save(out, "JPEG", quality=86)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def _png(rgba: Pixels) -> str:
    """A data URI; with a palette where 256 colours are enough, which is several times smaller."""
    from PIL import Image

    out = io.BytesIO()
    colours, index = np.unique(np.ascontiguousarray(rgba).view(np.uint32)[..., 0], return_inverse=True)
    if len(colours) > 256:
        Image.fromarray(rgba).save(out, "PNG", optimize=True)
    else:
        table = colours.view(np.uint8).reshape(-1, 4)
        image = Image.fromarray(index.reshape(rgba.shape[:2]).astype(np.uint8))
        image.putpalette(table[:, :3].tobytes(), "RGB")
        image.save(out, "PNG", optimize=True, transparency=table[:, 3].tobytes())
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def drawn_on(layer: Layer, view: View) -> Pixels:
    """A layer in a plane, as RGBA pixels that lie on the image.

    Raises
    ------
    ChunkflowLiverError
        If it cannot be read there.
    """
    values, inside = read_plane(layer.levels, view)
    if layer.kind == "distance":
        exact = read_plane(layer.flags, view)[0] > 0 if layer.flags else np.ones(values.shape, bool)
        return distance_colours(layer.nm(values), exact, inside, layer.cap_nm)
    if layer.kind == "score":
        return score_colours(values, inside)
    values = np.where(inside, values, 0)
    if layer.under:
        out = _class_colours(layer.under, *read_plane(layer.under, view))
        out[values > 0] = (*SITES, 255)
        return out
    if layer.kind == "instances":
        return label_colours(values, instance_colours(np.unique(values)))
    return _class_colours(layer.levels, values, inside)


def _class_colours(levels: Sequence[Volume], values: Pixels, inside: Pixels) -> Pixels:
    values = np.where(inside, values, 0)
    known = {n: PALETTE[i % len(PALETTE)] for i, (_, n) in enumerate(levels[0].classes)}
    return label_colours(values, {int(v): known.get(int(v), UNKNOWN) for v in np.unique(values)})


def instance_colours(ids: Pixels) -> dict[int, tuple[int, int, int]]:
    """A colour for every id, far from those of the next ids and the same in every picture."""
    from matplotlib.colors import hsv_to_rgb

    turns = ids.astype(np.float64)
    hsv = np.stack(
        [turns * 0.61803398875 % 1, 0.55 + 0.4 * (turns * 0.7548776662 % 1), np.full(ids.shape, 0.95)], -1
    )
    rgb = np.rint(hsv_to_rgb(hsv) * 255).astype(int).tolist()
    return {int(i): (c[0], c[1], c[2]) for i, c in zip(ids.tolist(), rgb, strict=True)}


def label_colours(labels: Pixels, colours: dict[int, Any]) -> Pixels:
    """Labels as RGBA pixels: see-through inside, solid at their rims; 0 is clear."""
    ids, index = np.unique(labels, return_inverse=True)
    table = np.array([(*colours[int(i)], 0 if i == 0 else 125) for i in ids], np.uint8)
    out: Pixels = table[index.reshape(labels.shape)]
    rim = np.zeros(labels.shape, bool)
    rim[1:] |= labels[1:] != labels[:-1]
    rim[:-1] |= labels[1:] != labels[:-1]
    rim[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    rim[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    out[rim & (labels != 0), 3] = 255
    return out


def score_colours(values: Pixels, inside: Pixels) -> Pixels:
    """Scores as RGBA pixels: the higher, the brighter and the less of the image shows through."""
    import matplotlib as mpl

    # As with distances, fewer steps than can be told apart.
    share = np.rint(np.clip(values / SCORE_OF_ONE, 0, 1) * 50) / 50
    out: Pixels = (mpl.colormaps[SCORE_COLOURS](share) * 255).astype(np.uint8)
    out[..., 3] = 225 * np.sqrt(share)
    out[~inside] = 0
    return out


def distance_colours(distance: Pixels, exact: Pixels, inside: Pixels, cap_nm: float) -> Pixels:
    """Distances as RGBA pixels: clear in the class, grey beyond the cap, striped where not exact."""
    import matplotlib as mpl

    far = ~np.isfinite(distance)
    share = np.clip(np.where(far, 0, distance) / max(cap_nm, 1e-9), 0, 1)
    # Steps of a fiftieth of the cap cannot be told apart, and make the pictures small.
    out: Pixels = (mpl.colormaps[COLOURMAP](np.rint(share * 50) / 50) * 255).astype(np.uint8)
    out[..., 3] = 205
    out[far] = (*BEYOND, 205)
    down, right = np.indices(distance.shape)
    stripe = (down + right) % 9 < 2
    out[stripe & ~exact & (distance > 0)] = (255, 255, 255, 170)
    out[(distance <= 0) | ~inside] = 0
    return out
