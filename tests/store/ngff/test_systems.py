"""OME-Zarr 0.6: coordinate systems and transformations (RFC 5) are read, and written on request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import chunkflow_liver as cf
from chunkflow_liver.errors import InputError
from chunkflow_liver.store.create import write_volume
from chunkflow_liver.store.images import inspect, open_volume
from chunkflow_liver.store.ngff import group_attributes
from chunkflow_liver.store.ngff.transforms import Aligned, parse

NM = (40.0, 8.0, 4.0)

# The cases of ome-zarr-transformations-conformance 0.1.2 (PyPI), in two dimensions, as facts: a transform,
# a point, and where it goes. What runs the other way is checked backwards.
CONFORMANCE: dict[str, tuple[dict[str, Any], tuple[float, float], tuple[float, float]]] = {
    "identity": ({"type": "identity"}, (1, 2), (1, 2)),
    "translation": ({"type": "translation", "translation": [10, 20]}, (1, 2), (11, 22)),
    "scale": ({"type": "scale", "scale": [10, 20]}, (1, 2), (10, 40)),
    "mapAxis": ({"type": "mapAxis", "mapAxis": [1, 0]}, (1, 2), (2, 1)),
    "sequence": (
        {
            "type": "sequence",
            "transformations": [
                {"type": "scale", "scale": [10, 20]},
                {"type": "scale", "scale": [0.1, 0.05]},
            ],
        },
        (1, 2),
        (1, 2),
    ),
    "byDimension": (
        {
            "type": "byDimension",
            "transformations": [
                {"type": "identity", "input_axes": [0], "output_axes": [0]},
                {"type": "scale", "scale": [10], "input_axes": [1], "output_axes": [1]},
            ],
        },
        (1, 2),
        (1, 20),
    ),
    "bijection": (
        {
            "type": "bijection",
            "forward": {"type": "translation", "translation": [1, 1]},
            "inverse": {"type": "translation", "translation": [10, 10]},
        },
        (1, 2),
        (2, 3),
    ),
    "simple_path": (
        {"type": "sequence", "transformations": [{"type": "identity"}, {"type": "identity"}]},
        (1, 2),
        (1, 2),
    ),
}
NOT_FOLLOWED = {
    "affine_identity": {"type": "affine", "affine": [[1, 0, 0], [0, 1, 0]]},
    "rotation": {"type": "rotation", "rotation": [[0.17, -0.985], [0.985, 0.17]]},
    "rotation_identity": {"type": "rotation", "rotation": [[1, 0], [0, 1]]},
}
"""Cases of the same package that are refused by name: voxels need not lie along the axes."""


def applied(placed: Aligned, point: tuple[float, ...]) -> list[float]:
    return [s * point[i] + t for i, s, t in zip(placed.source, placed.scale, placed.shift, strict=True)]


def undone(placed: Aligned, point: tuple[float, ...]) -> list[float]:
    back = {
        i: (p - t) / s for i, s, t, p in zip(placed.source, placed.scale, placed.shift, point, strict=True)
    }
    return [back[i] for i in range(len(point))]


@pytest.mark.parametrize("case", CONFORMANCE)
def test_the_cases_of_the_conformance_suite_are_followed(case):
    transform, point, wanted = CONFORMANCE[case]
    problems: list[str] = []
    placed = parse(transform, 2, "here", problems)
    assert placed is not None
    assert problems == []
    assert applied(placed, point) == pytest.approx(wanted, rel=1e-3, abs=1e-6)
    assert undone(placed, wanted) == pytest.approx(point, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("case", NOT_FOLLOWED)
def test_the_cases_that_turn_or_shear_are_refused_by_name(case):
    problems: list[str] = []
    assert parse(NOT_FOLLOWED[case], 2, "here", problems) is None
    assert f"here: transformation {NOT_FOLLOWED[case]['type']!r} is not supported" in problems[0]


steps = st.one_of(
    st.builds(
        lambda v: {"type": "scale", "scale": v},
        st.lists(st.sampled_from([0.5, 2, 3]), min_size=3, max_size=3),
    ),
    st.builds(
        lambda v: {"type": "translation", "translation": v},
        st.lists(st.integers(-9, 9), min_size=3, max_size=3),
    ),
    st.builds(lambda v: {"type": "mapAxis", "mapAxis": v}, st.permutations([0, 1, 2])),
)


@given(parts=st.lists(steps, min_size=1, max_size=5), point=st.tuples(*[st.integers(-9, 9)] * 3))
def test_a_sequence_is_its_steps_one_after_the_other(parts, point):
    """Against matrices of homogeneous coordinates."""
    whole = np.eye(4)
    for part in parts:
        matrix = np.eye(4)
        if part["type"] == "scale":
            matrix[:3, :3] = np.diag(part["scale"])
        elif part["type"] == "translation":
            matrix[:3, 3] = part["translation"]
        else:
            matrix[:3, :3] = np.eye(3)[part["mapAxis"]]
        whole = matrix @ whole
    placed = parse({"type": "sequence", "transformations": parts}, 3, "here", [])
    assert placed is not None
    assert applied(placed, point) == pytest.approx((whole @ [*point, 1])[:3].tolist())


@pytest.mark.parametrize(
    ("transform", "says"),
    [
        ({"type": "mapAxis", "mapAxis": [0, 0]}, "mapAxis must be the numbers 0 to 1 in some order"),
        ({"type": "mapAxis", "mapAxis": {"x": "y"}}, "mapAxis must be the numbers 0 to 1"),
        ({"type": "scale", "scale": [1, 2, 3]}, "scale must be 2 numbers"),
        ({"type": "scale", "path": "elsewhere"}, "scale must be 2 numbers, got None"),
        ({"type": "sequence", "transformations": []}, "a sequence must list transformations"),
        ({"type": "sequence", "transformations": [{"type": "affine"}]}, "transformation 'affine' is not"),
        ({"type": "byDimension", "transformations": []}, "must make each of the 2 axes from another one"),
        (
            {
                "type": "byDimension",
                "transformations": [{"type": "identity", "inputAxes": [5], "outputAxes": [0]}],
            },
            "must name as many axes to read as to make",
        ),
        ({"type": "displacements", "path": "field"}, "transformation 'displacements' is not supported"),
        ({"type": "warp"}, "transformation 'warp' is not supported; scale, translation, identity"),
        ("scale", "transformation None is not supported"),
    ],
)
def test_what_is_no_transformation_of_axes_is_named(transform, says):
    problems: list[str] = []
    assert parse(transform, 2, "here", problems) is None
    assert says in problems[0]


@pytest.fixture
def image(tmp_path):
    """An image of 0.6 with three levels, as we write it."""
    values = np.random.default_rng(0).integers(0, 9, (5, 600, 40), dtype=np.uint8)
    return write_volume(tmp_path / "a.ome.zarr", values, voxel_nm=NM, ome_version="0.6")


@pytest.mark.filterwarnings("ignore")
def test_what_is_written_is_what_ngff_zarr_reads(image, tmp_path):
    ngff_zarr = pytest.importorskip("ngff_zarr")
    write_volume(
        f"{image.url}/labels/er",
        image.read(),
        voxel_nm=NM,
        kind="label",
        classes={"er": 1},
        ome_version="0.6",
    )
    for part in ("", "/labels/er"):
        found = ngff_zarr.from_ngff_zarr(image.url + part, validate=True)
        _, volumes, problems = inspect(image.url + part)
        assert problems == []
        assert {v.ome_version for v in volumes} == {"0.6"}
        assert [tuple(i.scale[a] for a in "zyx") for i in found.images] == [v.voxel_nm for v in volumes]
        assert [tuple(i.translation[a] for a in "zyx") for i in found.images] == [
            v.origin_nm for v in volumes
        ]
        assert len({v.origin_nm for v in volumes}) > 1
        np.testing.assert_array_equal(np.asarray(found.images[0].data), image.read())
    assert open_volume(f"{image.url}/labels/er").classes == (("er", 1),)


def test_labels_that_join_an_image_of_0_6_are_of_0_6(image, tmp_path):
    write_volume(
        f"{image.url}/labels/c", image.read(), voxel_nm=NM, kind="label", classes={"er": 1}, ome_version="0.6"
    )
    plan = cf.label(
        open_volume(f"{image.url}/labels/c"), classes=["er"], name="ids", into=image.url, work=tmp_path / "w"
    )
    cf.run(plan, progress=False)
    assert plan.output.ome_version == open_volume(plan.output.url).ome_version == "0.6"
    for part in ("", "/labels", "/labels/ids"):
        assert group_attributes(image.url + part)[0]["ome"]["version"] == "0.6"


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_an_image_of_any_version_is_converted_to_0_6(tmp_path, voxels, version):
    pytest.importorskip("tensorstore")
    made = write_volume(tmp_path / "a.ome.zarr", voxels, voxel_nm=NM, ome_version=version)
    plan = cf.convert(made.url, tmp_path / "b.ome.zarr", ome_version="0.6")
    cf.run(plan, progress=False)
    found = open_volume(tmp_path / "b.ome.zarr")
    assert (found.ome_version, found.voxel_nm) == ("0.6", NM)
    np.testing.assert_array_equal(found.read(), voxels)


def changed(image: cf.Volume, change: Any) -> str:
    file = Path(image.url) / "zarr.json"
    node = json.loads(file.read_text())
    change(node["attributes"]["ome"]["multiscales"][0])
    file.write_text(json.dumps(node))
    return image.url


def to_world(kind: str, **more: Any) -> Any:
    def change(multiscale: dict[str, Any]) -> None:
        axes = multiscale["coordinateSystems"][0]["axes"]
        multiscale["coordinateSystems"].append({"name": "world", "axes": axes})
        entry = {"type": kind, "input": {"name": "physical"}, "output": {"name": "world"}, **more}
        multiscale["coordinateTransformations"] = [entry]

    return change


MATRIX = [[1, 0, 0], [0, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            to_world("affine", affine=[[*row, 0] for row in MATRIX]),
            "to 'world' is one of type 'affine', which is not",
        ),
        (to_world("rotation", rotation=MATRIX), "to 'world' is one of type 'rotation'"),
        (
            to_world("sequence", transformations=[{"type": "bijection", "forward": {"type": "affine"}}]),
            "to 'world' is one of type 'affine'",
        ),
        (lambda m: m.update(coordinateSystems=[]), "'coordinateSystems' must list at least one system"),
        (
            lambda m: m["coordinateSystems"][0].update(name="other"),
            "in the coordinate system 'physical'; there are",
        ),
        (
            lambda m: m["coordinateSystems"].append(m["coordinateSystems"][0]),
            "names of coordinate systems repeat",
        ),
        (
            lambda m: m["datasets"][1]["coordinateTransformations"][0]["output"].update(name="other"),
            "levels are placed in different coordinate systems",
        ),
        (
            lambda m: m["datasets"][1]["coordinateTransformations"][0]["input"].update(path="0"),
            "its transformation is that of '0'",
        ),
        (
            lambda m: m["datasets"][0]["coordinateTransformations"][0]["transformations"].reverse(),
            "translation before scale",
        ),
    ],
)
def test_what_contradicts_itself_or_turns_is_refused(image, change, says):
    with pytest.raises(InputError, match=says):
        open_volume(changed(image, change))


def test_a_system_that_only_scales_and_moves_does_not_change_the_size_of_voxels(image):
    url = changed(image, to_world("scale", scale=[2, 2, 2]))
    assert open_volume(url).voxel_nm == NM


def test_a_level_is_ordered_as_mapaxis_says(image):
    """z, y, x of the image are the axes 0, 2, 1 of the array."""

    def change(multiscale: dict[str, Any]) -> None:
        del multiscale["datasets"][1:]
        order = {"type": "mapAxis", "mapAxis": [0, 2, 1]}
        multiscale["datasets"][0]["coordinateTransformations"][0]["transformations"].insert(0, order)

    values = image.read()
    array = zarr.open_array(f"{image.url}/0").metadata.to_dict()
    file = Path(image.url) / "0/zarr.json"
    node = json.loads(file.read_text())
    node["dimension_names"] = ["z", "x", "y"]
    file.write_text(json.dumps(node))
    volume = open_volume(changed(image, change))
    assert array["zarr_format"] == 3
    assert (volume.axes, volume.voxel_nm) == (("z", "x", "y"), NM)
    np.testing.assert_array_equal(volume.read(), values.transpose(0, 2, 1))


@pytest.mark.parametrize("name", ["none", "null", "blank", "pixel"])
@pytest.mark.filterwarnings("ignore")
def test_a_unit_that_is_no_length_gives_way_to_the_one_that_is_given(em_data, name, tmp_path):
    url = em_data / f"foreign_files/units/{name}.ome.zarr"
    assert open_volume(url, unit="nm").voxel_nm == (40, 8, 8)
    assert open_volume(url, unit="um").voxel_nm == (40e3, 8e3, 8e3)
    with pytest.raises(InputError, match=r"axis z has (no unit|the unit .*, which is no length); state one"):
        open_volume(url)
    # As the message says.
    assert cf.convert(url, tmp_path / "b.ome.zarr", voxel_nm=(40, 8, 8)).output.voxel_nm == (40, 8, 8)


@pytest.mark.filterwarnings("ignore")
def test_labels_of_spatialdata_are_read(em_data):
    """Their scale stands at the image, to a system named 'global' whose unit is 'unit'."""
    folder = em_data / "foreign_files/spatialdata"
    labels = open_volume(folder / "d.zarr/labels/mitos", unit="nm")
    assert (labels.ome_version, labels.kind, labels.voxel_nm) == ("0.4", "label", (40, 8, 8))
    assert open_volume(folder / "d.zarr/labels/mitos", unit="nm", level=1).voxel_nm == (80, 16, 16)
    np.testing.assert_array_equal(labels.read(), np.load(folder / "s.npy"))
