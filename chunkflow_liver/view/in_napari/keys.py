"""Corrections in napari by the keys of the page, into the same list of edits.

Nothing here imports napari: what is used of a viewer and its layers is their keys, places and data.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chunkflow_liver.errors import ChunkflowLiverError, ConfigError
from chunkflow_liver.view.answers import Run
from chunkflow_liver.view.contents import Image, finer_images
from chunkflow_liver.view.in_napari.layers import Lazy, read_run, world_corner
from chunkflow_liver.view.virtual import Virtual

TWICE = {"m": "merge", "c": "cut", "s": "cleave"}
ONCE = {"d": "delete", "k": "class"}
FORGET, UNDO = "Escape", "u"


@dataclass
class Fields:
    """What is typed beside the volume: of an edit why, of `k` the class, of `s` the image of pieces."""

    why: str = ""
    named: str = ""
    pieces: str = ""
    emptied: Callable[[], None] = lambda: None
    """Called when `why` is emptied: a reason is of one edit."""


@dataclass(frozen=True)
class Point:
    """An object that was pointed at.

    Attributes
    ----------
    action : str
    image : str
        Name of the instances.
    label : int
    at : tuple of float
        Place (z, y, x) in nm from the first corner of the instances.
    """

    action: str
    image: str
    label: int
    at: tuple[float, ...]


class Keys:
    """Keys over the layers of instances of a run: each edit is on disk, and seen, when the line says so.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        With the layers of `read_run`.
    run : Run
    fields : Fields, optional
    """

    def __init__(self, viewer: Any, run: Run, fields: Fields | None = None) -> None:
        self.viewer, self.run, self.fields = viewer, run, fields or Fields()
        self.first: Point | None = None
        now = run.now()
        self.images = [n for n, i in now.images.items() if i.is_edited and n in viewer.layers]
        # Keys of a layer come before those of the viewer, and napari has its own for labels.
        for bound in [viewer, *(viewer.layers[name] for name in self.images)]:
            for key in (*TWICE, *ONCE, UNDO, FORGET):
                bound.bind_key(key, self._pressed(key), overwrite=True)
        if self.images:
            viewer.layers.selection.active = viewer.layers[self.images[0]]
        for name in self.images:
            if run.proofreading.revision(name) is not None:
                self._show(name)

    def _pressed(self, key: str) -> Any:
        def pressed(_: Any) -> None:
            self.press(key)

        return pressed

    def press(self, key: str) -> None:
        """Do what a key stands for, where the mouse points; refusals are told in the viewer."""
        try:
            self._say(self._done(key))
        except ChunkflowLiverError as err:
            self.first = None
            self._say(str(err))

    def _done(self, key: str) -> str:
        if key == FORGET:
            self.first = None
            return ""
        if key == UNDO:
            self.first = None
            name = self._chosen()
            self.run.told("undo", {"image": name})
            self._show(name)
            return f"the last edit of {name} is undone"
        point = self._under(TWICE.get(key) or ONCE[key])
        if point is None:
            return "point at an object first"
        if key in TWICE and (self.first is None or self.first.action != point.action):
            self.first = point
            return f"{point.action} {point.label}: {key} at the second place, Escape to forget it"
        begun, self.first = self.first or point, None
        if key in TWICE and begun.image != point.image:
            return f"the second place is in {point.image}, not in {begun.image}"
        if begun.action in ("cut", "cleave") and point.label != begun.label:
            return f"the second place is in {point.label}, not in {begun.label}"
        self.run.told("edit", self._edit(begun, point))
        self.fields.why = ""
        self.fields.emptied()
        self._show(begun.image)
        kept = self.run.proofreading.path(begun.image)
        return f"{begun.action} {begun.label}: done, and kept in {kept.parent.name}/{kept.name}"

    def _edit(self, begun: Point, point: Point) -> dict[str, Any]:
        """As the page would tell it."""
        told: dict[str, Any] = {"image": begun.image, "action": begun.action, "label": begun.label}
        told |= {"why": self.fields.why, "named": self.fields.named, "pieces": self.fields.pieces}
        if begun.action == "merge":
            return told | {"other": point.label}
        if begun.action in TWICE.values():
            return told | {"points": [*begun.at, *point.at]}
        return told

    def _chosen(self) -> str:
        """The instances that are edited: the active layer, or the uppermost one that is seen."""
        active = self.viewer.layers.selection.active
        if active is not None and active.name in self.images:
            return str(active.name)
        seen = [layer.name for layer in self.viewer.layers if layer.visible and layer.name in self.images]
        return str(seen[-1]) if seen else next(iter(self.images), "")

    def _under(self, action: str) -> Point | None:
        name = self._chosen()
        if not name:
            return None
        layer, place = self.viewer.layers[name], np.asarray(self.viewer.cursor.position, float)
        value = layer.get_value(tuple(place), world=True)
        # Of several levels napari tells which one it looked at, too.
        label = value[-1] if isinstance(value, tuple) else value
        if label is None or not int(label):
            return None
        now = self.run.now()
        corner = np.subtract(now.image(name).corner_nm, world_corner(now))
        at = tuple(float(p) for p in place[-3:] - corner)
        return Point(action, name, int(label), at)

    def _show(self, name: str) -> None:
        """Draw the instances with the edits that wait; as they are stored where there are none."""
        now = self.run.now()
        image = now.image(name)
        edited = self.run.proofreading.revision(name) is not None
        levels = shown_levels(image, self.run.edited(now, name) if edited else None)
        layer = self.viewer.layers[name]
        layer.data = levels if len(levels) > 1 else levels[0]

    def _say(self, text: str) -> None:
        overlay = self.viewer.canvas.overlays.text
        overlay.text, overlay.visible = text, bool(text)


def shown_levels(image: Image, edited: Virtual | None) -> list[Lazy]:
    """The levels of instances, with edits applied or as they are stored."""
    if edited is None:
        return [Lazy(level) for level in image.levels]
    return [Lazy(edited.at(number)) for number in range(len(image.levels))]


def open_in_napari(path: Path, who: str, edits: Path | None = None, pieces: str | None = None) -> None:
    """Show a run in napari until its window is closed; the parameters are those of `Run`.

    Raises
    ------
    ConfigError
        If napari is not installed, or has no screen to draw on.
    """
    try:
        import napari
    except ImportError as err:
        raise ConfigError("napari is not here; pip install 'chunkflow-liver[napari]'") from err
    if os.name == "posix" and not any(
        os.environ.get(k) for k in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    ):
        raise ConfigError(
            "napari needs a screen, and there is none: view it in the browser, without --napari"
        )
    run = Run(path.absolute(), who, edits, pieces)
    viewer = napari.Viewer(title=path.name)
    for data, about, kind in read_run(path, pieces):
        getattr(viewer, f"add_{kind}")(data, **about)
    fields = Fields()
    viewer.window.add_dock_widget(asked_beside(fields, run), name="Edits", area="right")
    Keys(viewer, run, fields)
    # Qt hears no Ctrl-C; every edit is on disk, so the process may just end.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    napari.run()


def asked_beside(fields: Fields, run: Run) -> Any:
    """What is typed beside the volume, as a widget that writes it into `fields`."""
    from magicgui.widgets import ComboBox, Container, Label, LineEdit

    now = run.now()
    known = sorted({p for name in now.images for p in finer_images(now, name)})
    why, named = LineEdit(label="Why"), LineEdit(label="Class (k)")
    pieces = ComboBox(label="Pieces (s)", choices=["", *known])
    keys = "m m: merge\nc c: cut\ns s: cleave along pieces\nd: delete\nk: give it the class\nu: undo"
    for widget, field in ((why, "why"), (named, "named"), (pieces, "pieces")):
        widget.changed.connect(lambda value, field=field: setattr(fields, field, value or ""))
    fields.emptied = lambda: setattr(why, "value", "")
    return Container(widgets=[Label(value=keys), why, named, pieces])
