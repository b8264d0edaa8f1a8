"""Corrections by keys in napari: the same list as the page's, seen at once, undone, kept for `edit`."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from view_runs import applied, object_at

import chunkflow_liver as cf
from chunkflow_liver.view.answers import Run
from chunkflow_liver.view.in_napari.keys import Fields, Keys, asked_beside
from chunkflow_liver.view.in_napari.layers import read_run

pytestmark = pytest.mark.filterwarnings("default")
NM = np.array([40.0, 16.0, 16.0])
JOINED, BESIDE, LONE, OTHER = (5, 12, 12), (5, 12, 30), (5, 34, 10), (5, 34, 35)


@pytest.fixture
def at(work, monkeypatch):
    """A press of a key with the mouse at a voxel, through napari's own handler; the viewer has no window."""
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    pytest.importorskip("napari")
    from napari.components import ViewerModel
    from napari.utils.key_bindings import KeymapHandler

    viewer = ViewerModel()
    for data, about, kind in read_run(work):
        getattr(viewer, f"add_{kind}")(data, **about)
    viewer.layers.selection.active = viewer.layers["mitos"]
    keys = Keys(viewer, Run(work, "ada"), Fields(why="one body"))
    handler = KeymapHandler()
    # As Qt has it: the active layer first.
    handler.keymap_providers = [viewer.layers["mitos"], viewer]

    def press(key, voxel=None):
        if voxel is not None:
            viewer.cursor.position = tuple((np.array(voxel) + 0.5) * NM - NM / 2)
        handler.press_key(key)
        return viewer.canvas.overlays.text.text

    press.viewer, press.keys = viewer, keys
    return press


def drawn(at):
    data = at.viewer.layers["mitos"].data
    return np.asarray((data[0] if at.viewer.layers["mitos"].multiscale else data)[:])


def listed(work):
    with (work / "proofreading/mitos.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_edits_are_listed_seen_undone_and_applied_for_good(work, at):
    labels = cf.open_volume(work / "results.ome.zarr/labels/mitos").read()
    joined, lone, other = (object_at(labels, voxel) for voxel in (JOINED, LONE, OTHER))
    np.testing.assert_array_equal(drawn(at), labels)
    assert f"merge {other}: m at the second place" in at("m", OTHER)
    assert "done, and kept in" in at("m", LONE)
    kept = min(lone, other)
    assert set(np.unique(drawn(at)[labels == max(lone, other)])) == {kept}
    at("c", JOINED)
    at("c", BESIDE)
    assert drawn(at)[JOINED] == joined
    fresh = drawn(at)[BESIDE]
    assert fresh > labels.max()
    at("d", BESIDE)
    assert (drawn(at)[BESIDE], drawn(at)[JOINED]) == (0, joined)
    assert "the last edit of mitos is undone" in at("u")
    assert drawn(at)[BESIDE] == fresh
    rows = listed(work)
    assert [(r["action"], r["who"], r["why"]) for r in rows] == [
        ("merge", "ada", "one body"),
        ("cut", "ada", ""),
    ]
    made = applied(work)
    np.testing.assert_array_equal(made, drawn(at))
    # A viewer that is opened later shows what waits; without edits what is stored.
    later = Keys(at.viewer, Run(work, "grace"))
    np.testing.assert_array_equal(made, drawn(at))
    later.press("u")
    later.press("u")
    np.testing.assert_array_equal(drawn(at), labels)
    later.press("u")
    assert "nothing to undo" in at.viewer.canvas.overlays.text.text


def test_a_class_is_given_and_refusals_are_told_and_not_kept(work, at):
    assert "point at an object first" in at("d", (0, 0, 0))
    assert "class,ID,NAME" in at("k", LONE)
    at.keys.fields.named = "lysosome"
    assert "done" in at("k", LONE)
    assert listed(work)[0]["other"] == "lysosome"
    at("c", LONE)
    assert "the second place is in" in at("c", OTHER)
    at("m", LONE)
    assert at("Escape") == ""
    assert at.keys.first is None
    at("m", LONE)
    assert "one object already" in at("m", LONE)
    at("s", LONE)
    assert "no image of pieces" in at("s", LONE)
    assert len(listed(work)) == 1


def test_what_is_typed_beside_goes_into_the_edits(work, at, monkeypatch):
    widgets = pytest.importorskip("magicgui.widgets")
    pytest.importorskip("PySide6", reason="needs Qt, of the extra 'napari'")
    from PySide6.QtWidgets import QApplication

    app = QApplication.instance() or QApplication([])
    beside = asked_beside(at.keys.fields, at.keys.run)
    assert isinstance(beside, widgets.Container)
    beside[1].value, beside[2].value = "two bodies", "er"
    app.processEvents()
    assert (at.keys.fields.why, at.keys.fields.named) == ("two bodies", "er")
    # A reason is of one edit, a class of as many as are given it.
    assert "done" in at("k", LONE)
    assert listed(work)[0]["why"] == "two bodies"
    assert (beside[1].value, at.keys.fields.why, beside[2].value) == ("", "", "er")
