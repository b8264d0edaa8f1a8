"""`suggest` as an entry of a run file: what the entries before it have found speaks for a place."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from run_files import SHAPE, planned, project_in
from strategies import done, semantic, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError

NM = (4.0, 8.0, 16.0)


def project(folder, **entry):
    """A run file that compares its classes with others, cuts objects, and asks for boxes."""
    content = project_in(folder, semantic(SHAPE, 3, 2))
    classes = [("mitochondrion", 2), ("er", 1)]
    write(folder, semantic(SHAPE, 4, 2), "others", kind="label", classes=classes)
    sources = [{"image": "raw.ome.zarr", "labels": "classes.ome.zarr", "slices": [0]}]
    training = {"name": "m", "work": "train", "sources": sources, "voxel_nm": list(NM)}
    training["network"] = {"window": [4, 4]}
    (folder / "train.yaml").write_text(yaml.safe_dump(training))
    content |= {"split": [{"name": "parts", "classes": ["mitochondrion"], "depth_nm": 8, "cap_nm": 40}]}
    asked = {"name": "next", "boxes": 2, "labels": ["others.ome.zarr"], "training": "train.yaml"}
    return content | {"suggest": [asked | entry]}


def test_an_entry_finds_what_the_function_finds(tmp_path):
    done(planned(tmp_path, project(tmp_path, weights={"seams": 0.5})))
    got = cf.read_table(tmp_path / "work/tables/next.parquet").to_pydict()
    assert {"disagreement", "seams", "distance_nm"} < got.keys()
    # As large as the training's window: one slice.
    assert np.subtract(got["z_stop"], got["z_start"]).tolist() == [1, 1]
    assert np.subtract(got["y_stop"], got["y_start"]).tolist() == [4, 4]
    source = {
        "image": str(tmp_path / "raw.ome.zarr"),
        "labels": str(tmp_path / "classes.ome.zarr"),
        "slices": [0],
    }
    evidence = cf.Evidence.of_run(
        tmp_path / "work", labels=[cf.open_volume(tmp_path / "others.ome.zarr")], painted=[source]
    )
    at = {"boxes": 2, "box_nm": (4, 32, 64), "weights": {"seams": 0.5}}
    plan = cf.suggest(evidence, **at, name="again", work=tmp_path / "work")
    assert cf.read_table(done(plan)).to_pydict() == got


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"weights": {"sems": 1}}, "suggest.0.weights"),
        ({"boxes": 0}, "suggest.0.boxes"),
        ({"labels": ["raw.ome.zarr"], "name": "parts"}, "are called 'parts'"),
        ({"box_nm": [400, 8, 8]}, r"suggest.0: boxes of .* are larger than what there is"),
        ({"training": "gone.yaml"}, "suggest.0: no run file at"),
    ],
)
def test_an_entry_that_cannot_be_is_told_with_its_place(entry, says, tmp_path):
    with pytest.raises(ConfigError, match=says):
        planned(tmp_path, project(tmp_path, **entry))
    assert not (tmp_path / "work").exists()
