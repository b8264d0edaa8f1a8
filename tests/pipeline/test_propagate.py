"""Objects of prompts in a run file, and the commands that make models and prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from flood_propagator import flood_model
from typer.testing import CliRunner

import chunkflow_liver as cf
from chunkflow_liver.cli import app as cli
from chunkflow_liver.config import read_run_file
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.ops.propagate.options import Carrying
from chunkflow_liver.segmenters.sam2 import backends


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A run file; what carries masks is replaced, because a run file has no choice of it."""
    monkeypatch.setitem(backends.BACKENDS, "transformers", "flood_propagator:FLOOD")
    grey = np.full((8, 96, 96), 40, np.uint8)
    grey[:, 20:50, 30:60] = 200
    cf.write_volume(tmp_path / "raw.ome.zarr", grey, voxel_nm=(40, 8, 8), chunks=(16, 32, 32))
    flood_model(tmp_path / "model")
    (tmp_path / "prompts.tsv").write_text("cell\t0\t4\t6\t30\t20\t60\t50\n")
    entry = {"name": "cells", "model": "model", "prompts": "prompts.tsv"}
    return {"input": {"path": "raw.ome.zarr"}, "work": "work", "propagate": [entry], "report": False}


def planned(folder: Path, project: dict[str, Any]) -> Any:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(project))
    return cf.plan_run(read_run_file(path))


def test_objects_of_prompts_are_measured_as_by_hand(project: dict[str, Any], tmp_path: Path) -> None:
    project["measure"] = [{"name": "cell-table", "instances": "cells"}]
    cf.run(planned(tmp_path, project), progress=False)
    raw = cf.open_volume(tmp_path / "raw.ome.zarr")
    hand = cf.propagate(
        raw, tmp_path / "prompts.tsv", model=tmp_path / "model", name="cells", work=tmp_path / "hand"
    )
    cf.run(hand, progress=False)
    made = cf.open_volume(tmp_path / "work/results.ome.zarr/labels/cells").read()
    np.testing.assert_array_equal(made, hand.output.read())
    # The prompt's own limit: seven slices of eight.
    assert [bool(plane.any()) for plane in made] == [True] * 7 + [False]
    table = cf.read_table(tmp_path / "work/tables/cell-table.parquet").to_pandas()
    assert table["class"].tolist() == ["cells"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"direction": "up"}, "direction"),
        ({"patience": 0}, "patience"),
        ({"guide": "er"}, "needs classes"),
        ({"prompts": "absent.tsv"}, "there is no file of prompts"),
        ({"limits": [3, 1]}, "the smaller one first"),
    ],
)
def test_what_cannot_work_is_told_with_its_place(
    project: dict[str, Any], tmp_path: Path, wrong: dict[str, Any], says: str
) -> None:
    project["propagate"][0] |= wrong
    with pytest.raises(ConfigError if "absent" not in str(wrong) else ValueError, match=says):
        planned(tmp_path, project)


def test_the_shipped_run_file_has_the_defaults() -> None:
    run_file = read_run_file(Path(__file__).parents[2] / "configs/cells_sam2.yaml")
    entry = run_file.propagate[0]
    assert all(getattr(entry, k) == getattr(Carrying(), k) for k in ("patience", "group", "chunk", "device"))


def test_skeletons_become_prompts_by_a_command(project: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "d1.swc").write_text("1 0 0.36 0.28 0.05 1 -1\n2 0 0.36 0.28 0.25 1 1\n")
    to = tmp_path / "made.tsv"
    told = CliRunner().invoke(
        cli.app,
        [
            "prompts",
            "from-skeletons",
            str(tmp_path / "d1.swc"),
            str(to),
            "--image",
            f"{tmp_path}/raw.ome.zarr",
        ],
    )
    assert told.exit_code == 0, told.output
    assert "1 prompts of 1 objects" in told.output
    project["propagate"][0]["prompts"] = "made.tsv"
    cf.run(planned(tmp_path, project), progress=False)
    made = cf.open_volume(tmp_path / "work/results.ome.zarr/labels/cells").read()
    # Nodes lie on slices 1 and 6.
    assert [bool(plane.any()) for plane in made] == [False, *[True] * 6, False]
    assert made[3, 35, 45] == 1
