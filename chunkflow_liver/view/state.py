"""The state of neuroglancer that a run opens with: its layers, their sources, colours and places."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from chunkflow_liver.errors import ChunkflowLiverError
from chunkflow_liver.geometry import Box, zyx
from chunkflow_liver.reports.pictures.slices import css, gradient
from chunkflow_liver.store.ngff.write import PALETTE
from chunkflow_liver.view.annotations import NM_PER_M
from chunkflow_liver.view.contents import PIECES, PLACED, Contents, Image, place_columns

ORIGIN = "ORIGIN"
"""Stands for the address of the server: the page puts it in, so that a state that is kept names no port."""
SAMPLE = 96
"""Voxels along the side of the box that black and white are taken from."""
SITE_COLOURS = {
    "contact sites": "#ffe128",
    "narrowings": "#ff5ac8",
    "seams": "#5ad2ff",
    "suggested boxes": "#ffffff",
}


def state(contents: Contents, edited: Mapping[str, str]) -> dict[str, Any]:
    """The whole state, looking at the middle of the first image.

    Parameters
    ----------
    contents : Contents
    edited : mapping of str
        Of label images with edits that wait: what the address of their view is made with.
    """
    images = list(contents.images.values())
    layers = [layer(contents, image, edited.get(image.name)) for image in images]
    layers += [place for name in contents.tables if (place := _places(contents, name)) is not None]
    frame = images[0] if images else None
    found: dict[str, Any] = {
        "dimensions": {axis: [1 / NM_PER_M, "m"] for axis in "xyz"},
        "layers": layers,
        "layout": "4panel",
        "showSlices": False,
        "selectedLayer": {"visible": False},
    }
    if frame is not None:
        volume = frame.finest
        size = [n * v for n, v in zip(volume.shape, volume.voxel_nm, strict=True)]
        found["position"] = [c + s / 2 for c, s in zip(frame.corner_nm, size, strict=True)][::-1]
        # The whole plane in a panel of some 400 pixels.
        found["crossSectionScale"] = max(size[1:]) / 400
        found["projectionScale"] = max(size) * 1.5
    return found


def layer(contents: Contents, image: Image, edited: str | None = None) -> dict[str, Any]:
    """The layer of an image; of labels with edits that wait, with those applied."""
    seen = contents.generation if image.pending else "done"
    base = f"zarr{image.finest.zarr_format}://{ORIGIN}/data/{seen}/{image.name}"
    made: dict[str, Any] = {"name": image.name, "visible": is_shown(contents, image)}
    if image.kind in ("raw", "distance", "score"):
        made |= {"type": "image", "source": f"{base}/", "shader": _shader(image)}
        if image.kind != "raw":
            made |= {"blend": "default", "opacity": 0.6}
        return made
    if edited is not None:
        base = f"zarr3://{ORIGIN}/edited/{edited}/{image.name}"
    sources: list[Any] = [{"url": f"{base}/"}]
    # What lies below pieces is to be seen through them.
    alpha = 0.15 if image.kind == PIECES else 0.35
    made |= {"type": "segmentation", "selectedAlpha": alpha, "notSelectedAlpha": min(alpha, 0.2)}
    if named := [(n, number) for n, number in image.finest.classes if number]:
        made["segmentColors"] = {
            str(number): css(PALETTE[i % len(PALETTE)]) for i, (_, number) in enumerate(named)
        }
        made["segments"] = [str(number) for _, number in named]
        sources.append(f"precomputed://{ORIGIN}/properties/done/{image.name}")
    elif contents.measured(image.name) is not None:
        sources.append(f"precomputed://{ORIGIN}/properties/done/{image.name}")
        sources.append(f"precomputed://{ORIGIN}/meshes/{edited or 'done'}/{image.name}")
    made["source"] = sources
    return made


def is_shown(contents: Contents, image: Image) -> bool:
    """Whether a run opens with an image: the grey values, and of labels the newest instances."""
    return image.kind in ("raw", PIECES) or image.name in contents.newest


def value_layer(
    image: Image, table: str, column: str, values: np.ndarray[Any, Any], edited: str | None
) -> dict[str, Any]:
    """A layer of the objects of an image coloured by a column, from its smallest value to its largest."""
    known = values[np.isfinite(values.astype(np.float64))]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    # Long tails would leave one colour for all others.
    if len(known) > 20:
        low, high = (float(v) for v in np.percentile(known, [1, 99]))
    if not low < high:
        low, high = low - 0.5, high + 0.5
    return {
        "name": f"{image.name} by {column}",
        "type": "image",
        "source": f"zarr3://{ORIGIN}/values/{edited or 'done'}/{image.name}/{table}/{column}/",
        "shader": _ramp(low, high, "v != v"),
        "blend": "default",
        "opacity": 0.8,
        "bar": {"low": low, "high": high, "text": column, "colours": gradient()},
    }


def bar(image: Image) -> dict[str, Any] | None:
    """The colour bar of a distance map; None of other images."""
    if image.kind != "distance":
        return None
    to = image.about.get("to", "")
    return {"low": 0, "high": reach(image), "text": f"nm to {to}", "colours": gradient()}


def _places(contents: Contents, name: str) -> dict[str, Any] | None:
    table = contents.tables[name]
    called = PLACED.get(table.product.kind)
    if called is None or place_columns(table.names) is None or not table.rows:
        return None
    colour = SITE_COLOURS[called]
    found = {
        "name": f"{called}: {name}",
        "type": "annotation",
        "source": f"precomputed://{ORIGIN}/places/done/{name}",
        "annotationColor": colour,
        "shader": "void main() {\n  setColor(defaultColor());\n  setPointMarkerSize(9.0);\n}",
        "visible": False,
    }
    image = contents.labels_of(table)
    if image is not None and {"label", "label_a"} & set(table.names):
        found |= {"linkedSegmentationLayer": {"object": image.name}}
    return found


def reach(image: Image) -> float:
    """The largest distance of a distance map, in nm: its cap, or what lies in its middle."""
    cap = float(image.about.get("cap_nm", 0.0))
    if cap:
        return cap
    coarse = image.levels[-1]
    values = coarse.read(_middle(coarse.shape))
    quantum = float(image.about.get("quantum_nm") or 1.0)
    return quantum * float(np.max(values, initial=1.0, where=np.isfinite(values)))


def _shader(image: Image) -> str:
    if image.kind == "raw":
        # Of whole numbers neuroglancer takes a range of whole numbers only.
        kind = int if np.dtype(image.finest.dtype).kind in "bui" else float
        black, white = (kind(v) for v in contrast(image.levels))
        return (
            f"#uicontrol invlerp grey(range=[{black}, {white}])\nvoid main() {{\n  emitGrayscale(grey());\n}}"
        )
    if image.kind == "score":
        high = 255.0 if np.dtype(image.finest.dtype).kind == "u" else 1.0
        return _ramp(0.0, high, "v <= 0.0")
    quantum = image.about.get("quantum_nm")
    # Stored steps beyond the cap are the largest number there is, of floats infinite.
    beyond = f"v > {reach(image) * 1.0001:.6f}"
    return _ramp(0.0, reach(image), beyond, float(quantum or 1.0))


def _ramp(low: float, high: float, hidden: str, step: float = 1.0) -> str:
    """A shader that draws values from `low` to `high` in the colours of the report."""
    stops = ", ".join(
        "vec3({:.3f}, {:.3f}, {:.3f})".format(*(int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)))
        for c in gradient()
    )
    return "\n".join(
        [
            f"#uicontrol float lowest slider(min={_glsl(low)}, max={_glsl(high)}, default={_glsl(low)})",
            f"#uicontrol float highest slider(min={_glsl(low)}, max={_glsl(high)}, default={_glsl(high)})",
            "void main() {",
            f"  float v = float(toRaw(getDataValue())) * {_glsl(step)};",
            f"  if ({hidden}) {{ emitTransparent(); return; }}",
            f"  vec3 c[9] = vec3[9]({stops});",
            "  float t = clamp((v - lowest) / max(highest - lowest, 1e-12), 0.0, 1.0) * 8.0;",
            "  int i = int(min(floor(t), 7.0));",
            "  emitRGB(mix(c[i], c[i + 1], t - float(i)));",
            "}",
        ]
    )


def _glsl(value: float) -> str:
    """A number as GLSL takes it, with a point."""
    text = f"{value:.9g}"
    return text if "." in text or "e" in text else f"{text}.0"


def _middle(shape: tuple[int, int, int]) -> Box:
    start = [max(0, (n - SAMPLE) // 2) for n in shape]
    return Box(zyx(start), zyx([min(n, s + SAMPLE) for n, s in zip(shape, start, strict=True)]))


@lru_cache(maxsize=8)
def contrast(levels: tuple[Any, ...]) -> tuple[float, float]:
    """Black and white: 0.5 and 99.5 % of a box in the middle of a coarse level."""
    coarse = next((v for v in levels if math.prod(v.shape) <= SAMPLE**3 * 8), levels[-1])
    try:
        values = coarse.read(_middle(coarse.shape)).astype(np.float64)
    except ChunkflowLiverError:
        return 0.0, 255.0
    values = values[np.isfinite(values)]
    black, white = (float(v) for v in np.percentile(values, [0.5, 99.5])) if values.size else (0.0, 255.0)
    return (black, white) if black < white else (black - 1, black + 1)
