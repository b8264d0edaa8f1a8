"""A network of a run file is that of the operation; what does not fit is refused with its place."""

from __future__ import annotations

import numpy as np
import pytest
from run_files import planned
from strategies import contents, done, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ChunkflowLiverError


@pytest.fixture
def project(tmp_path):
    classes = np.zeros((8, 12, 40), np.uint8)
    classes[3:6, 4:7, 2:38] = 2
    ids = np.where(classes > 0, 7, 0).astype(np.uint32)
    write(tmp_path, classes, "classes", kind="label", classes=[("er", 1), ("sinusoid", 2)])
    write(tmp_path, ids, "ids", kind="label")
    return {
        "work": "work",
        "semantic": {"path": "classes.ome.zarr"},
        "existing": [{"name": "vessels", "path": "ids.ome.zarr"}],
    }


def test_an_entry_gives_what_the_operation_gives(project, tmp_path):
    entries = [
        {
            "name": "n",
            "classes": "sinusoid",
            "widest_nm": 100,
            "spur": 2,
            "unite": 0.5,
            "touch": 0,
            "block": [8, 12, 16],
        },
        {"name": "one", "instances": "vessels", "ids": [7], "widest_nm": 100},
    ]
    done(planned(tmp_path, project | {"network": entries}))
    volume = cf.open_volume(tmp_path / "classes.ome.zarr")
    tidy = cf.Tidy(spur=2, unite=0.5, touch=0)
    done(cf.network(volume, classes="sinusoid", widest_nm=100, tidy=tidy, name="n", work=tmp_path / "hand"))
    made = contents(tmp_path / "work/tables")
    hand = contents(tmp_path / "hand/tables")
    assert {k: v for k, v in made.items() if k in hand} == hand
    assert len(hand) == 6
    assert cf.read_table(tmp_path / "work/tables/one.parquet").num_rows == 1
    assert "Networks" in (tmp_path / cf.report(tmp_path / "work")).read_text()


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"widest_nm": 100}, "give either 'classes' or 'instances'"),
        ({"classes": "er", "instances": "vessels", "widest_nm": 100}, "give either 'classes' or 'instances'"),
        ({"classes": "er", "ids": [7], "widest_nm": 100}, "'ids' are of instances"),
        ({"classes": "er"}, "widest_nm"),
        ({"classes": "duct", "widest_nm": 100}, "has no class 'duct'"),
        ({"instances": "ducts", "widest_nm": 100}, "refers to instances 'ducts'"),
        ({"classes": "er", "widest_nm": 100, "spurs": 1}, "spurs"),
    ],
)
def test_what_does_not_fit_is_refused(entry, says, project, tmp_path):
    with pytest.raises(ChunkflowLiverError, match=says):
        planned(tmp_path, project | {"network": [{"name": "n", **entry}]})
