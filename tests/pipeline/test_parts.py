"""Parts of volumes in a run file: `roi_nm` and `mask` at any entry."""

from __future__ import annotations

import numpy as np
import pytest
from run_files import SHAPE, planned
from strategies import VOXEL_NM, components, done, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError

BOX = [[0.0, 0.0, 0.0], [SHAPE[0] * VOXEL_NM[0], 40.0, SHAPE[2] * VOXEL_NM[2] / 2]]


@pytest.fixture
def parts(tmp_path, array):
    """Classes and instances that exist, and a mask; entries that look at all, a box, a mask, or both."""
    wanted = (np.indices(SHAPE).sum(0) % 7 > 1).astype(np.uint8)
    write(tmp_path, array, "found", kind="label", classes=(("er", 1), ("mitochondrion", 2)))
    write(tmp_path, components(array, 6, [2]).astype(np.uint16), "ids", kind="label")
    write(tmp_path, wanted, "tissue", kind="label")
    mask = {"mask": "tissue.ome.zarr"}
    return {
        "work": "work",
        "semantic": {"path": "found.ome.zarr"},
        "existing": [{"name": "ids", "path": "ids.ome.zarr"}],
        "label": [
            {"name": "all", "classes": ["mitochondrion"]},
            {"name": "box", "classes": ["mitochondrion"], "roi_nm": BOX},
            {"name": "masked", "classes": ["mitochondrion"], **mask},
        ],
        "distance": [{"name": "far", "to": "er", "cap_nm": 20, "roi_nm": BOX, **mask}],
        "measure": [
            {"name": "t-box", "instances": "box", "features": ["basic", "surface"]},
            {"name": "t-masked", "instances": "masked", "features": ["basic", "surface"]},
            {"name": "t-part", "instances": "ids", "features": ["basic", "surface"], **mask},
        ],
    }


def test_entries_look_at_their_part_and_what_is_made_of_it_inherits_it(parts, tmp_path):
    done(planned(tmp_path, parts))
    classes, ids, tissue = (cf.open_volume(tmp_path / f"{n}.ome.zarr") for n in ("found", "ids", "tissue"))
    at = {"work": tmp_path / "alone"}
    box, masked = (
        cf.label(classes.within(part), classes=["mitochondrion"], name=name, **at)
        for name, part in (("box", BOX), ("masked", tissue))
    )
    far = cf.distance(classes.within(BOX).within(tissue), to="er", cap_nm=20, name="far", **at)
    for plan in (box, masked, far):
        done(plan)
    features = ["basic", "surface"]
    for name, volume in (("t-box", box.output), ("t-masked", masked.output), ("t-part", ids.within(tissue))):
        done(cf.measure(volume, features=features, name=name, **at))
        tables = [
            cf.read_table(tmp_path / f"{w}/tables/{name}.parquet").to_pydict() for w in ("work", "alone")
        ]
        assert repr(tables[0]) == repr(tables[1])
        assert tables[0]["label"]
        assert any(tables[0]["touches_border"])
    for path in ("results.ome.zarr/labels/box", "results.ome.zarr/labels/masked", "far.ome.zarr"):
        images = [cf.open_volume(tmp_path / w / path) for w in ("work", "alone")]
        np.testing.assert_array_equal(images[0].read(), images[1].read())
        assert images[0].region == images[1].region
        assert (images[0].mask is None) == path.endswith("box")
    whole = cf.open_volume(tmp_path / "work/results.ome.zarr/labels/all")
    assert (whole.region, whole.mask) == (None, None)


def test_what_follows_borders_takes_the_mask_of_a_run_file(parts, tmp_path):
    mask = {"mask": "tissue.ome.zarr"}
    file = {key: parts[key] for key in ("work", "semantic", "existing")}
    file["distance"] = [{"name": to, "to": to, "cap_nm": None, **mask} for to in ("er", "mitochondrion")]
    file["zonation"] = [{"name": "z", "instances": "ids", "maps": ["er", "mitochondrion"]}]
    file["domains"] = [{"name": "d", "instances": "ids", "to": ["er"], **mask}]
    file["network"] = [{"name": "n", "classes": ["er"], "widest_nm": 40, **mask}]
    done(planned(tmp_path, file))
    classes, ids, tissue = (cf.open_volume(tmp_path / f"{n}.ome.zarr") for n in ("found", "ids", "tissue"))
    known, at = classes.within(tissue), {"work": tmp_path / "alone"}
    maps = [done(cf.distance(known, to=to, cap_nm=None, name=to, **at)) for to in ("er", "mitochondrion")]
    done(cf.zonation(ids, maps, name="z", **at))
    done(cf.domains(ids.within(tissue), known, to=["er"], name="d", **at))
    done(cf.network(known, classes=["er"], widest_nm=40, name="n", **at))
    for name in ("z", "d", "n-nodes"):
        rows = [cf.read_table(tmp_path / w / f"tables/{name}.parquet").to_pydict() for w in ("work", "alone")]
        assert repr(rows[0]) == repr(rows[1])
        assert len(next(iter(rows[0].values()))) > 1
    assert any(rows[0]["touches_border"])


@pytest.mark.parametrize(
    ("key", "entry", "says"),
    [
        ("flow", {"name": "x"}, r"flow.0: .*no meaning here: slices are looked at whole"),
        ("compare", {"name": "x", "samples": []}, r"compare.0.*"),
        (
            "population",
            {"name": "x", "tables": ["t-box"]},
            r"population.0: .*no meaning here: it works on tables",
        ),
    ],
)
def test_entries_without_a_part_say_why(parts, tmp_path, key, entry, says):
    with pytest.raises(ConfigError, match=says):
        planned(tmp_path, parts | {key: [entry | {"roi_nm": BOX}]})


def test_a_mask_that_is_not_there_is_refused_with_its_entry(parts, tmp_path):
    parts["label"][2]["mask"] = "gone.ome.zarr"
    with pytest.raises(InputError, match=r"label.2: no such file or folder: .*gone.ome.zarr"):
        planned(tmp_path, parts)


def test_a_box_beyond_the_volume_is_refused_with_its_entry(parts, tmp_path):
    parts["distance"][0]["roi_nm"] = [[1e6, 0, 0], [2e6, 1, 1]]
    with pytest.raises(ConfigError, match=r"distance.0.*holds no voxel of .*found.ome.zarr"):
        planned(tmp_path, parts)
