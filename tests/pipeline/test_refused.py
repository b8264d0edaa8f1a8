"""Runs whose parts do not fit together are refused before anything is written."""

from __future__ import annotations

import numpy as np
import pytest
from run_files import planned
from strategies import write

from chunkflow_liver.errors import ConfigError, InputError


def refusals():
    other = {"semantic": {"path": "small.ome.zarr"}}
    nothing = {name: [] for name in ("label", "measure", "distance", "contacts", "evaluate")}
    return {
        "refined before it is there": (
            {"refine": [{"name": "b", "instances": "a"}, {"name": "a", "instances": "mitos"}]},
            ConfigError,
            r"'b' refines instances 'a'; before it there are \['mitos'\]",
        ),
        "own instances on other voxels": (
            {"existing": [{"name": "own", "path": "small.ome.zarr"}]},
            ConfigError,
            r"existing.0: .*small.ome.zarr level 0 has \(9, 12, 9\) .*the level of 'own' that matches",
        ),
        "own instances on voxels of other own ones": (
            {
                **{key: value for key, value in nothing.items() if key != "measure"},
                "input": None,
                "semantic": None,
                "existing": [
                    {"name": "mitos", "path": "truth.ome.zarr"},
                    {"name": "own", "path": "small.ome.zarr"},
                ],
            },
            ConfigError,
            r"small.ome.zarr level 0 has \(9, .*, .*truth.ome.zarr \(10, 12, 9\) of",
        ),
        "grey values as own instances": (
            {"existing": [{"name": "own", "path": "raw.ome.zarr"}]},
            ConfigError,
            r"existing.0: .*raw.ome.zarr is not marked as labels .* its uint16 voxels may be grey values; if "
            r".* say 'labels: true' beside .*: chunkflow-liver convert .*raw.ome.zarr/\S+ .* --labels",
        ),
        "grey values as classes": (
            {"semantic": {"path": "raw.ome.zarr"}},
            ConfigError,
            "semantic: .*raw.ome.zarr is not marked as labels",
        ),
        "no whole numbers as labels": (
            {"existing": [{"name": "own", "path": "real.ome.zarr", "labels": True}]},
            ConfigError,
            "existing.0: .*real.ome.zarr holds float32 voxels; labels must be one of bool, ",
        ),
        "labels as the image": (
            {"input": {"path": "classes.ome.zarr"}},
            ConfigError,
            "input: .*classes.ome.zarr holds labels, not grey values; name it under 'existing'",
        ),
        "nothing to do": (nothing, ConfigError, "nothing to do: the run file has neither"),
        "another shape": (other, ConfigError, r"\(9, 12, 9\) voxels .*, the image \(10, 12, 9\)"),
        "another voxel size": (
            {"semantic": {"path": "coarse.ome.zarr"}},
            ConfigError,
            r"\(8.0, 8.0, 16.0\) nm, the image .*: choose the level of 'semantic' that matches",
        ),
        "no such level": (
            {"input": {"path": "raw.ome.zarr", "level": 3}},
            InputError,
            "has levels 0 to 0, not 3",
        ),
        "no such class": (
            {"distance": [{"name": "d", "to": "golgi", "cap_nm": 3}]},
            InputError,
            "no class 'golgi'; it has",
        ),
        "unknown results": (
            {"evaluate": [{"name": "e", "found": "nuclei", "truth": "truth.ome.zarr"}]},
            ConfigError,
            r"'e' compares 'nuclei'; this run makes \['classes', 'mitos'\]",
        ),
        "a result over its input": (
            {"distance": [{"name": "raw", "to": "er", "cap_nm": 3}], "work": "."},
            ConfigError,
            "would write its own result over .*raw.ome.zarr, which it reads; rename it",
        ),
        "a result over the truth": (
            {
                "into_source": True,
                "label": [{"name": "gold"}],
                "measure": [],
                "contacts": [],
                "evaluate": [{"name": "e", "found": "gold", "truth": "raw.ome.zarr/labels/gold", "iou": 0.5}],
            },
            ConfigError,
            "would write its own result over .*labels/gold, which it reads; rename it",
        ),
        "labels of a coarse level into the source": (
            {"into_source": True, "input": {"path": "fine.ome.zarr", "level": 1}},
            ConfigError,
            "into_source needs level 0",
        ),
    }


@pytest.mark.parametrize("case", refusals())
def test_runs_that_cannot_fit_together_are_refused(case, project, array, tmp_path, listing):
    write(tmp_path, array[:9], "small", kind="label")
    write(tmp_path, array, "coarse", kind="label", voxel_nm=(8, 8, 16))
    write(tmp_path, array.astype(np.float32), "real")
    write(tmp_path, array, "raw.ome.zarr/labels/gold", kind="label")
    (tmp_path / "raw.ome.zarr/labels/gold.ome.zarr").rename(tmp_path / "raw.ome.zarr/labels/gold")
    write(tmp_path, np.ones((4, 300, 8), np.uint8), "fine", voxel_nm=(8, 8, 8))
    change, error, says = refusals()[case]
    before = listing()
    with pytest.raises(error, match=says):
        planned(tmp_path, project | change)
    assert listing() == before
