"""Seams of a stitched run: points, a list of the worst, and objects joined across one by an edit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from strategies import write
from view_runs import object_at

import chunkflow_liver as cf
from chunkflow_liver.view.answers import Run

NM = (16.0, 8.0, 8.0)


@pytest.fixture
def stitched(tmp_path):
    """Labels of two blocks along x, found each by itself: one object fits, of the other little meets."""
    labels = np.zeros((4, 24, 32), np.uint8)
    labels[1:3, 2:8, 6:26] = 1
    labels[1:3, 12:22, 4:16] = 2
    labels[1:3, 21:23, 16:28] = 3
    source = write(tmp_path, labels, "blocks", kind="label", voxel_nm=NM)
    at = {"work": tmp_path / "run", "block": (4, 24, 16)}
    cells = cf.stitch(source, name="cells", **at)
    table = cf.measure(cells.output, features=["basic"], name="cell-table", **at)
    cf.run(cells + table, progress=False)
    return tmp_path / "run"


def test_seams_are_points_and_the_worst_come_first(stitched):
    run = Run(stitched, "ada")
    rows = cf.read_table(stitched / "tables/cells-seams.parquet").to_pylist()
    (layer,) = (i for i in run.asked("run", {})["state"]["layers"] if i["name"] == "seams: cells-seams")
    assert layer["type"] == "annotation"
    info = json.loads(run.computed("places", "done", "cells-seams/info"))
    assert info["annotation_type"] == "POINT"
    assert "score" in {p["id"] for p in info["properties"]}
    (worst,) = (i for i in run.asked("jumps", {}) if i["table"] == "cells-seams")
    assert (worst["what"], worst["by"], worst["first"]) == ("seams", "score", "smallest")
    assert [row["value"] for row in worst["rows"]] == sorted(r["score"] for r in rows)
    assert worst["rows"][0]["of"] == "block 0 and block 1"
    # Voxel 15, the last one before the face, in nm from the middle of the first voxel.
    assert worst["rows"][0]["place"][0] == 15 * 8


def test_objects_are_joined_across_a_seam(stitched):
    run = Run(stitched, "ada")
    labels = cf.open_volume(stitched / "results.ome.zarr/labels/cells").read()
    left, right = object_at(labels, (1, 14, 10)), object_at(labels, (1, 21, 20))
    assert left != right
    run.told("edit", {"image": "cells", "action": "merge", "label": left, "other": right})
    revision = run.asked("edits", {})["cells"]["revision"]
    kind = json.loads(run.computed("edited", revision, "cells/0/zarr.json"))["data_type"]
    chunk = run.computed("edited", revision, "cells/0/c/0/0/0")
    shown = np.frombuffer(chunk, np.dtype(kind)).reshape(64, 64, 64)
    assert shown[1, 14, 10] == shown[1, 21, 20] == min(left, right)
