"""Orthogonal slices in a notebook: a volume, or a run with its overlays; sliders where ipywidgets is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.engine.plan import Plan
from chunkflow_liver.errors import ChunkflowLiverError, InputError
from chunkflow_liver.geometry import Nm
from chunkflow_liver.reports.pictures.planes import PLANES, View, across, corner_nm, extent_nm, read_plane
from chunkflow_liver.reports.pictures.samples import levels_of
from chunkflow_liver.reports.pictures.slices import DRAWN, Layer, drawn_on, layer_of, raw_levels
from chunkflow_liver.reports.work import Work, read_work
from chunkflow_liver.reports.writing import png
from chunkflow_liver.store.exports.markup import html_table
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.view.state import contrast

PIXELS = 320
"""Longest side of a picture."""


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
        HTML that stands above.
    """

    name: str
    raw: tuple[Volume, ...]
    layers: tuple[Layer, ...]
    at_nm: Nm
    about: str = ""

    @property
    def frame(self) -> Volume:
        """The volume whose corner places are measured from."""
        return self.raw[0] if self.raw else self.layers[0].levels[0]

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
        for layer in self.layers:
            rgba = drawn_on(layer, view).astype(np.float64)
            share = rgba[..., 3:] / 255
            out = out * (1 - share) + rgba[..., :3] * share
        pixels: np.ndarray[Any, Any] = np.rint(out).astype(np.uint8)
        return pixels

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
        pictures = []
        for plane in PLANES:
            try:
                pixels = self.pixels(plane)
            except ChunkflowLiverError as err:
                pictures.append(f"<p>{plane}: {err}</p>")
                continue
            cut = across(plane)
            text = f"{plane}, {'zyx'[cut]} = {self.at_nm[cut]:.0f} nm"
            side = f'width="{pixels.shape[1]}" height="{pixels.shape[0]}"'
            pictures.append(
                f'<figure style="display:inline-block;margin:4px">'
                f'<img src="{png(pixels)}" {side} alt="{text}">'
                f"<figcaption>{text}</figcaption></figure>"
            )
        return self.about + "".join(pictures)

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display

        try:
            import ipywidgets
        except ImportError:
            display(HTML(self._repr_html_()))
            return
        display(self.widget(ipywidgets))

    def widget(self, ipywidgets: Any) -> Any:
        """Sliders along z, y and x, and which overlays lie on the image, above the slices."""
        sizes = extent_nm(self.frame)
        sliders = [
            ipywidgets.FloatSlider(
                value=at,
                min=step / 2,
                max=size - step / 2,
                step=step,
                description=f"{axis} (nm)",
                readout_format=".0f",
                continuous_update=False,
            )
            for axis, at, size, step in zip("zyx", self.at_nm, sizes, self.frame.voxel_nm, strict=True)
        ]
        boxes = [ipywidgets.Checkbox(value=True, description=layer.name) for layer in self.layers]
        shown = ipywidgets.HTML(self._repr_html_())

        def redraw(_change: Any) -> None:
            z, y, x = (float(slider.value) for slider in sliders)
            layers = tuple(layer for layer, box in zip(self.layers, boxes, strict=True) if box.value)
            shown.value = Slices(self.name, self.raw, layers, (z, y, x), self.about)._repr_html_()

        for control in (*sliders, *boxes):
            control.observe(redraw, names="value")
        return ipywidgets.VBox([*sliders, ipywidgets.HBox(boxes), shown])


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
        raw, layers, name, about = _of_volume(what)
    else:
        work = read_work(Path(what.work if isinstance(what, Plan) else what).absolute())
        raw, layers, name, about = _of_run(work)
    if not raw and not layers:
        raise InputError(f"{name} has no image to look at yet: run its plan first")
    found = Slices(name, raw, layers, (0.0, 0.0, 0.0), about)
    z, y, x = at_nm or (n / 2 for n in extent_nm(found.frame))
    if not all(0 <= p < n for p, n in zip((z, y, x), extent_nm(found.frame), strict=True)):
        raise InputError(
            f"({z:g}, {y:g}, {x:g}) nm lies outside {name}, which is {extent_nm(found.frame)} nm large"
        )
    return Slices(name, raw, layers, (z, y, x), about)


Shown = tuple[tuple[Volume, ...], tuple[Layer, ...], str, str]


def _of_volume(volume: Volume) -> Shown:
    levels = levels_of(volume)
    if volume.kind != "label":
        return levels, (), volume.name, ""
    kind = "semantic" if any(n for _, n in volume.classes) else "instances"
    return (), (Layer(kind, volume.name, levels),), volume.name, ""


def _of_run(work: Work) -> Shown:
    problems: list[str] = []
    raw = raw_levels(work, problems) or ()
    found = (layer_of(work, p, problems) for p in work.products if p.kind in DRAWN and p.kind != "distance")
    layers = tuple(layer for layer in found if layer is not None)
    rows = [(p.name, p.kind) for p in work.products]
    return tuple(raw), layers, work.path.name, html_table(rows, caption=work.path.name)
