"""Motion, cells and protrusions of a run file are those of the functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from run_files import planned
from strategies import done, write

import chunkflow_liver as cf
from chunkflow_liver.config import read_run_file
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.phantom.tissue import Tissue, planes

pytest.importorskip("cv2", reason="needs the extra 'cells'")
VOXEL_NM = (25.0, 8.0, 8.0)


@pytest.fixture
def tissue(tmp_path):
    stack = [np.stack(a) for a in zip(*planes(Tissue((7, 64, 96), VOXEL_NM, 5, cells=3)), strict=True)]
    painted = np.zeros(stack[3].shape, np.uint16)
    painted[[0, 6]] = stack[3][[0, 6]]
    named = {"raw": stack[0], "interior": stack[1], "boundary": stack[2], "painted": painted}
    for name, array in named.items():
        write(tmp_path, array, name, voxel_nm=VOXEL_NM, **({"kind": "label"} if name == "painted" else {}))
    maps = {k: f"{k}.ome.zarr" for k in ("interior", "boundary", "painted")}
    return {
        "input": {"path": "raw.ome.zarr"},
        "work": "work",
        "flow": [{"name": "motion"}],
        "cells": [{"name": "cells", "small_um2": 0.05, **maps}],
        "protrusions": [
            {"name": "whole", "cells": "cells", "interior": maps["interior"], "max_area_um2": 0.05}
        ],
        "report": False,
    }


def test_cells_of_a_run_file_are_those_of_the_functions(tissue, tmp_path):
    done(planned(tmp_path, tissue))
    given = {
        k: cf.open_volume(tmp_path / f"{k}.ome.zarr") for k in ("raw", "interior", "boundary", "painted")
    }
    hand = tmp_path / "hand"
    cells = cf.cells(**given, small_um2=0.05, name="cells", work=hand)
    whole = cf.protrusions(cells.output, given["interior"], max_area_um2=0.05, name="whole", work=hand)
    done(cells + whole)
    for name in ("cells", "whole"):
        found = cf.open_volume(tmp_path / f"work/results.ome.zarr/labels/{name}")
        np.testing.assert_array_equal(
            found.read(), cf.open_volume(hand / f"results.ome.zarr/labels/{name}").read()
        )
    motion = done(cf.flow(given["raw"], name="motion", work=hand)).read()
    np.testing.assert_array_equal(cf.open_volume(tmp_path / "work/motion-y.ome.zarr").read(), motion)


def test_cells_in_3d_are_found_in_the_tiles_of_the_run_file(tissue, tmp_path):
    pytest.importorskip("bioimage_cpp", reason="needs the extra 'cells'")
    maps = {k: tissue["cells"][0][k] for k in ("interior", "boundary")}
    tissue |= {"flow": [], "protrusions": [], "block": [16, 64, 48]}
    tissue["cells"] = [{"name": "cells", "mode": "volume", "cap_nm": 40, "tile": [16, 32, 32], **maps}]
    found = planned(tmp_path, tissue)
    (tiles,) = [stage for stage in found.maps if stage.name == "cells/blocks"]
    (apply,) = [stage for stage in found.maps if stage.name == "cells/apply"]
    assert (tiles.grid.block, apply.grid.block) == ((7, 32, 32), (7, 64, 48))
    done(found)
    given = {k: cf.open_volume(tmp_path / f"{k}.ome.zarr") for k in maps}
    hand = cf.cells(
        **given, mode="volume", cap_nm=40, tile=(16, 32, 32), name="cells", work=tmp_path / "hand"
    )
    stored = cf.open_volume(tmp_path / "work/results.ome.zarr/labels/cells").read()
    np.testing.assert_array_equal(stored, done(hand).read())


def test_an_entry_says_where_its_interior_is_and_whose_cells_it_takes(tissue, tmp_path):
    tissue["cells"][0]["inside"] = "cell"
    with pytest.raises(ConfigError, match=r"give either 'interior' .a map. or 'inside' .a class."):
        planned(tmp_path, tissue)
    del tissue["cells"][0]["inside"]
    tissue["protrusions"][0]["cells"] = "others"
    with pytest.raises(ConfigError, match="'whole' refines instances 'others'; before it there are"):
        planned(tmp_path, tissue)
    tissue["protrusions"] = []
    tissue["cells"][0] |= {"mode": "volume"}
    with pytest.raises(ConfigError, match="mode 'volume' has the boundary alone"):
        planned(tmp_path, tissue)


def test_the_example_is_read():
    run_file = read_run_file(Path(__file__).parents[2] / "configs/cells_tissue.yaml")
    assert run_file.cells[0].mode == "selective"
    assert run_file.protrusions[0].cells == "cells"
