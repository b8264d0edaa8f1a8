"""Orthogonal slices in a notebook: a volume, or a run with its overlays; sliders where ipywidgets is."""

from __future__ import annotations

import html
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.errors import ChunkflowLiverError, InputError
from chunkflow_liver.geometry import Box, Nm, zyx
from chunkflow_liver.reports.pictures.planes import PLANES, View, across, corner_nm, extent_nm, read_plane
from chunkflow_liver.reports.pictures.samples import levels_of
from chunkflow_liver.reports.pictures.slices import (
    DRAWN,
    Layer,
    drawn_on,
    gradient,
    layer_of,
    raw_levels,
    scale_bar_nm,
)
from chunkflow_liver.reports.work import Work, read_work
from chunkflow_liver.reports.writing import png
from chunkflow_liver.store.exports.markup import html_table
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.view.state import contrast

PIXELS = 400
"""Longest side of a picture, in pixels; all three have one scale."""
MOST_OPACITY = 2.0
"""Overlays are see-through as in the report at 1 of this."""
LINE = "position:absolute;background:#ffe128;opacity:.55;"
BAR = "position:absolute;left:8px;bottom:8px;height:4px;background:#fff;box-shadow:0 0 2px #000;"
WORD = "position:absolute;left:8px;bottom:13px;color:#fff;font:12px sans-serif;text-shadow:0 0 3px #000;"
SWATCH = "display:inline-block;width:.8em;height:.8em;margin:0 .25em 0 .7em;background:"
NOWHERE = (0.0, 0.0, 0.0)
KINDS = {
    "distance": "",
    "instances": "each object in a colour of its own",
    "score": "the brighter, the more certain",
}
WITHOUT = "Sliders and opacities need ipywidgets: pip install 'chunkflow-liver[notebook]'"


@dataclass(frozen=True)
class Slices:
    """Three planes through a place, ready to be shown.

    Attributes
    ----------
    name : str
    raw : tuple of Volume
        Levels of the image; empty if there is none.
    layers : tuple of Layer
        What lies on it, the first one lowest.
    at_nm : Nm
        The place, (z, y, x) from the first corner.
    about : str
        HTML that stands below.
    opacity : tuple of float
        Of each layer from 0, which hides it, to 1; 0.5 of those beyond its end.
    """

    name: str
    raw: tuple[Volume, ...]
    layers: tuple[Layer, ...]
    at_nm: Nm
    about: str = ""
    opacity: tuple[float, ...] = ()

    @property
    def frame(self) -> Volume:
        """The volume whose corner places are measured from."""
        return self.raw[0] if self.raw else self.layers[0].levels[0]

    @property
    def _opacities(self) -> list[float]:
        return [*self.opacity, *[0.5] * len(self.layers)][: len(self.layers)]

    def pixels(self, plane: str) -> np.ndarray[Any, Any]:
        """One plane as RGB pixels, overlays on it.

        Raises
        ------
        ChunkflowLiverError
            If no level of the image can be read there.
        """
        view = self._view(plane)
        grey = np.full(view.shape, 128.0)
        if self.raw:
            values, inside = read_plane(self.raw, view)
            black, white = contrast(self.raw)
            grey = np.where(
                inside, np.clip((values.astype(np.float64) - black) / (white - black), 0, 1) * 255, 128
            )
        out = np.repeat(grey[..., None], 3, axis=2)
        for layer, opacity in zip(self.layers, self._opacities, strict=True):
            if opacity > 0:
                rgba = drawn_on(layer, view).astype(np.float64)
                share = np.clip(rgba[..., 3:] / 255 * opacity * MOST_OPACITY, 0, 1)
                out = out * (1 - share) + rgba[..., :3] * share
        pixels: np.ndarray[Any, Any] = np.rint(out).astype(np.uint8)
        return pixels

    def values(self) -> dict[str, str]:
        """What image and layers hold at the place, by their names: classes by name, distances in nm."""
        found = {}
        for name, levels, layer in [("image", self.raw, None), *((i.name, i.levels, i) for i in self.layers)]:
            if not levels:
                continue
            volume = levels[0]
            corner = (corner_nm(volume, axis) - corner_nm(self.frame, axis) for axis in range(3))
            voxel = [
                math.floor((p - c) / v) for p, c, v in zip(self.at_nm, corner, volume.voxel_nm, strict=True)
            ]
            box = Box(zyx(voxel), zyx([n + 1 for n in voxel]))
            if volume.box.contains(box):
                found[name] = _told(volume.read(box), layer)
        return found

    def _view(self, plane: str) -> View:
        axes = PLANES[plane]
        size = extent_nm(self.frame)
        cut = across(plane)
        low = tuple(corner_nm(self.frame, a) for a in axes)
        pixel = max(max(size) / PIXELS, min(self.frame.voxel_nm[a] for a in axes))
        return View(
            plane,
            corner_nm(self.frame, cut) + self.at_nm[cut],
            (low[0], low[1]),
            (size[axes[0]], size[axes[1]]),
            pixel,
        )

    def _repr_html_(self) -> str:
        return self._page() + f"<p><small>{html.escape(WITHOUT)}</small></p>"

    def _page(self) -> str:
        first, *others = map(self._figure, PLANES)
        try:
            here = ", ".join(f"{html.escape(k)} {html.escape(v)}" for k, v in self.values().items())
        except ChunkflowLiverError as err:
            here = html.escape(str(err))
        z, y, x = self.at_nm
        about = f"<details><summary>Results</summary>{self.about}</details>" if self.about else ""
        return (
            f'<b>{html.escape(self.name)}</b><div style="display:flex;flex-wrap:wrap;gap:12px">{first}'
            f"<div>{''.join(others)}</div></div>"
            f"<div>At z, y, x = {z:.0f}, {y:.0f}, {x:.0f} nm: {here}</div>{self._legend()}{about}"
        )

    def _figure(self, plane: str) -> str:
        """One plane with its place, a scale bar, and lines where the others cut it."""
        try:
            pixels = self.pixels(plane)
        except ChunkflowLiverError as err:
            return f"<p>{plane}: {html.escape(str(err))}</p>"
        cut, (down, right) = across(plane), PLANES[plane]
        size, scale = extent_nm(self.frame), PIXELS / max(extent_nm(self.frame))
        text = f"{plane}, {'zyx'[cut]} = {self.at_nm[cut]:.0f} nm"
        bar = scale_bar_nm(size[right])
        told = f"{bar / 1000:g} µm" if bar >= 1000 else f"{bar:g} nm"
        wide, high = size[right] * scale, size[down] * scale
        top, left = (100 * self.at_nm[axis] / size[axis] for axis in (down, right))
        return (
            f'<figure style="margin:4px 0"><figcaption>{text}</figcaption>'
            f'<div style="position:relative;width:{wide:.0f}px;height:{high:.0f}px">'
            f'<img src="{png(pixels)}" alt="{text}" '
            'style="width:100%;height:100%;max-width:none;margin:0;image-rendering:pixelated">'
            f'<i style="{LINE}left:0;right:0;height:1px;top:{top:.2f}%"></i>'
            f'<i style="{LINE}top:0;bottom:0;width:1px;left:{left:.2f}%"></i>'
            f'<i style="{BAR}width:{bar * scale:.0f}px"></i><span style="{WORD}">{told}</span></div></figure>'
        )

    def _legend(self) -> str:
        """What the colours stand for."""
        lines = []
        for layer in self.layers:
            named = [f'<i style="{SWATCH}{colour}"></i>{html.escape(name)}' for name, colour in layer.legend]
            told = "".join(named) if layer.kind == "semantic" else KINDS[layer.kind]
            if layer.kind == "distance":
                ramp = f"{SWATCH}linear-gradient(to right,{','.join(gradient())});width:8em"
                told = f'<i style="{ramp}"></i>0 to {layer.cap_nm:g} nm to {html.escape(layer.to)}'
            lines.append(f"<div>{html.escape(layer.name)}: {told}</div>")
        return "".join(lines)

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display

        try:
            import ipywidgets
        except ImportError:
            display(HTML(self._repr_html_()))
            return
        display(self.widget(ipywidgets))

    def widget(self, ipywidgets: Any) -> Any:
        """Sliders along z, y and x, and the opacity of each overlay, above the slices."""
        sizes = extent_nm(self.frame)
        wide = {"style": {"description_width": "12em"}, "layout": {"width": "34em"}}
        sliders = [
            ipywidgets.FloatSlider(
                value=at,
                min=step / 2,
                max=size - step / 2,
                step=step,
                description=f"{axis} (nm)",
                readout_format=".0f",
                continuous_update=False,
                **wide,
            )
            for axis, at, size, step in zip("zyx", self.at_nm, sizes, self.frame.voxel_nm, strict=True)
        ]
        opacities = [
            ipywidgets.FloatSlider(
                value=value, min=0, max=1, step=0.05, description=layer.name, continuous_update=False, **wide
            )
            for layer, value in zip(self.layers, self._opacities, strict=True)
        ]
        shown = ipywidgets.HTML(self._page())

        def redraw(_change: Any) -> None:
            z, y, x = (float(slider.value) for slider in sliders)
            opacity = tuple(float(slider.value) for slider in opacities)
            shown.value = replace(self, at_nm=(z, y, x), opacity=opacity)._page()

        for control in (*sliders, *opacities):
            control.observe(redraw, names="value")
        columns = [ipywidgets.VBox(sliders), ipywidgets.VBox(opacities)]
        return ipywidgets.VBox([ipywidgets.HBox(columns), shown])


def _told(voxel: np.ndarray[Any, Any], layer: Layer | None) -> str:
    """The value of one voxel as a person reads it."""
    if layer is not None and layer.kind == "distance":
        nm = float(layer.nm(voxel).reshape(-1)[0])
        return f"{nm:.0f} nm" if math.isfinite(nm) else f"beyond {layer.cap_nm:g} nm"
    value = voxel.reshape(-1)[0]
    if layer is None or layer.kind == "score":
        return f"{value:g}"
    named = {number: name for name, number in layer.levels[0].classes}
    return str(named.get(int(value), value)) if value else "background"


def show(what: Volume | Plan | str | os.PathLike[str], *, at_nm: Nm | None = None) -> Slices:
    """Three orthogonal slices through a volume, or a run with its overlays, for a notebook.

    Parameters
    ----------
    what : Volume, Plan or path
        A volume; or a plan that was run, or its work folder.
    at_nm : tuple of float, optional
        The place, (z, y, x) in nm from the first corner; the middle by default.

    Returns
    -------
    Slices
        What a notebook shows as pictures, with sliders where ipywidgets is installed. `pixels('xy')` gives
        a plane as an array.

    Raises
    ------
    InputError
        If there is nothing to look at, or the place lies outside.
    """
    if isinstance(what, Volume):
        found = _of_volume(what)
    else:
        found = _of_run(read_work(Path(what.work if isinstance(what, Plan) else what).absolute()))
    name = found.name
    if not found.raw and not found.layers:
        raise InputError(f"{name} has no image to look at yet: run its plan first")
    z, y, x = at_nm or (n / 2 for n in extent_nm(found.frame))
    if not all(0 <= p < n for p, n in zip((z, y, x), extent_nm(found.frame), strict=True)):
        raise InputError(
            f"({z:g}, {y:g}, {x:g}) nm lies outside {name}, which is {extent_nm(found.frame)} nm large"
        )
    return replace(found, at_nm=(z, y, x))


def _of_volume(volume: Volume) -> Slices:
    levels = levels_of(volume)
    if volume.kind != "label":
        return Slices(volume.name, levels, (), NOWHERE)
    kind = "semantic" if any(n for _, n in volume.classes) else "instances"
    return Slices(volume.name, (), (Layer(kind, volume.name, levels),), NOWHERE)


def _of_run(work: Work) -> Slices:
    problems: list[str] = []
    raw = raw_levels(work, problems) or ()
    found = (layer_of(work, p, problems) for p in work.products if p.kind in DRAWN)
    layers = tuple(layer for layer in found if layer is not None)
    # Of edited instances those before are a slider away, as all that hides the image.
    before = {dict(p.about).get("instances") for p in work.products if p.kind == "instances"}
    hides = [layer.kind in ("distance", "score") or layer.name in before for layer in layers]
    rows = [(p.name, p.kind) for p in work.products]
    about = html_table(rows, caption=work.path.name)
    opacity = tuple(0.0 if hidden else 0.5 for hidden in hides)
    return Slices(work.path.name, tuple(raw), layers, NOWHERE, about, opacity)
