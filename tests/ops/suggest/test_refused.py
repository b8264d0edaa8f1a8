"""Suggestions that cannot be made are refused before anything is written, and say what to do."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from strategies import CLASSES, VOXEL_NM, command, done, write

import chunkflow_liver as cf
from chunkflow_liver.engine.stage import plain
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.ops.suggest.evidence import Evidence

SHAPE = (6, 16, 16)
NM = np.array(VOXEL_NM)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images that evidence may consist of."""
    folder = tmp_path_factory.mktemp("data")
    values = np.random.default_rng(0).integers(0, 3, SHAPE, dtype=np.uint8)
    found = {name: write(folder, values, name) for name in ("raw", "unsure")}
    found |= {n: write(folder, values, n, kind="label", classes=CLASSES) for n in ("classes", "others")}
    found["ids"] = write(folder, values, "ids", kind="label")
    found["small"] = write(folder, values[:3], "small")
    found["few"] = write(folder, values[:3], "few", kind="label")
    found["real"] = write(folder, values.astype(np.float32), "real")
    return found


def source(d, **changes):
    return {"image": d["raw"].url, "labels": d["classes"].url} | changes


def unsure(d, **more):
    return Evidence(d["raw"], [d["unsure"]], **more)


def painted(d, **changes):
    return unsure(d, painted=[source(d, **changes)])


BOX = {"box_nm": NM * (2, 4, 4), "boxes": 2}
CASES = {
    "no folder": (lambda d: "no/run", {}, InputError, "is no work folder of a run: .* give the folder that"),
    "nothing to go on": (
        lambda d: Evidence(d["raw"], labels=[d["classes"]]),
        {},
        InputError,
        "nothing tells one place of 'raw' from another: segment with 'uncertainty: entropy'",
    ),
    "only sources of other images": (
        lambda d: Evidence(d["raw"], painted=[source(d, image="other", slices=[0])]),
        {},
        InputError,
        "nothing tells one place",
    ),
    "no boxes": (unsure, {"boxes": 0}, ConfigError, "boxes is a whole number from 1 on, got 0"),
    "boxes larger than the volume": (
        unsure,
        {"box_nm": NM * (7, 4, 4)},
        ConfigError,
        r"boxes of .* nm .* larger than what there is, \(24.0, 128.0, 256.0\) nm; ask for a smaller box_nm",
    ),
    "flat boxes": (unsure, {"box_nm": (0, 9, 9)}, ConfigError, "box_nm is three sizes above 0"),
    "more boxes than fit": (
        unsure,
        {"boxes": 49},
        ConfigError,
        r"49 boxes of \(2, 4, 4\) voxels do not fit into \(6, 16, 16\): there is room for 48; ask for fewer",
    ),
    "too far apart": (
        unsure,
        {"apart_nm": 500},
        ConfigError,
        "2 boxes may not find room 500 nm apart: at most .* nm leave room for all",
    ),
    "a distance below 0": (
        unsure,
        {"apart_nm": -1},
        ConfigError,
        "apart_nm is a length of 0 or more, got -1",
    ),
    "a weight of what is not known": (
        unsure,
        {"weights": {"seams": 1}},
        ConfigError,
        r"weights name 'seams', of which nothing is known here; what counts is \['uncertainty'\]",
    ),
    "no weight": (unsure, {"weights": {"uncertainty": 0}}, ConfigError, "0 or more, not all 0"),
    "a weight below 0": (unsure, {"weights": {"uncertainty": -1}}, ConfigError, "0 or more, not all 0"),
    "uncertainty of another type": (
        lambda d: Evidence(d["raw"], [d["real"]]),
        {},
        InputError,
        "holds float32 voxels; uncertainty and scores are uint8",
    ),
    "classes and instances": (
        lambda d: Evidence(d["raw"], labels=[d["classes"], d["ids"]]),
        {},
        InputError,
        r"\['classes'\] are classes and \['ids'\] state none, so they are instances: compare classes with",
    ),
    "labels that are no integers": (
        lambda d: Evidence(d["raw"], labels=[d["classes"], d["real"]]),
        {},
        InputError,
        "holds float32 voxels; classes and instances must be integers",
    ),
    "other voxels": (
        lambda d: Evidence(d["raw"], [d["unsure"], d["small"]]),
        {},
        InputError,
        "suggest needs all on the same voxels; choose the level that matches",
    ),
    "seams of which nothing is known": (
        lambda d: unsure(d, seams=[d["ids"]]),
        {},
        InputError,
        "nothing is known of seams of .*ids.ome.zarr .* give instances that split or stitch made there",
    ),
    "all is painted": (painted, {}, InputError, "source 0: all of .* is painted, so there is nothing"),
    "a source without labels": (
        lambda d: unsure(d, painted=[{"image": d["raw"].url}]),
        {},
        ConfigError,
        "source 0 of a training needs 'image' and 'labels'",
    ),
    "a box that is none": (
        lambda d: painted(d, boxes_nm=[[0, 0, 0]]),
        {},
        ConfigError,
        "source 0: a box is two corners",
    ),
    "labels on other voxels": (
        lambda d: painted(d, labels=d["few"].url, ignore=9),
        {},
        InputError,
        r"source 0: no level of .*few.ome.zarr has the \(6, 16, 16\) voxels .* name the 'slices'",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_requests_are_refused(case, data, tmp_path):
    make, changes, error, says = CASES[case]
    with pytest.raises(error, match=says):
        cf.suggest(make(data), **BOX | changes, name="next", work=tmp_path / "work")
    assert list(tmp_path.iterdir()) == []


def test_boxes_that_are_nearly_all_painted_are_not_suggested(data, tmp_path):
    evidence = painted(data, boxes_nm=[[[0, 0, 0], [24, 128, 160]]])
    plan = cf.suggest(evidence, boxes=4, box_nm=NM * (6, 8, 8), name="next", work=tmp_path / "work")
    with pytest.raises(
        InputError, match="only 0 of 4 boxes find room where less than 25% of a box is painted"
    ):
        done(plan)


def test_a_segmentation_that_is_not_finished_is_none(data, tmp_path):
    work = tmp_path / "work"
    kept = write(work, np.zeros(SHAPE, np.uint8), "s-uncertainty")
    products = [
        {"kind": kind, "name": v.name, "type": "Volume", "handle": vars(v), "about": {}}
        for kind, v in (("raw", data["raw"]), ("semantic", data["classes"]))
    ]
    products.append(
        {"kind": "score", "name": "s-uncertainty", "type": "Volume", "handle": vars(kept), "about": {}}
    )
    products[-1]["handle"] = dict(vars(kept), url=f"{work}/gone.ome.zarr")
    (work / "products.json").write_text(json.dumps(plain(products)))
    with pytest.raises(InputError, match=r"'gone' of .* is not finished; run it to its end first"):
        Evidence.of_run(work)
    (work / "products.json").write_text("[]")
    with pytest.raises(InputError, match="has no image to paint on"):
        Evidence.of_run(work)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "is no work folder of a run"),
        (("--training", "gone.yaml"), "no run file at"),
        (
            ("--weight", "uncertainty"),
            "a weight is 'criterion=number', as 'uncertainty=2'; got 'uncertainty'",
        ),
    ],
)
def test_the_command_refuses_with_status_2_and_writes_nothing(options, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said, told = command("suggest", "runs/none", *options)
    assert (code, said) == (2, "")
    assert re.search(says, told), told
    assert list(tmp_path.iterdir()) == []
