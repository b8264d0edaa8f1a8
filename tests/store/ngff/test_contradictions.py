"""OME-Zarr metadata that contradict each other are refused by name, by `open_volume` and by `validate`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import zarr
from ngff_files import build, ome

from chunkflow_liver.errors import InputError
from chunkflow_liver.store.images import open_volume, validate


def pyramid(folder: Path, shapes: list[tuple[int, ...]], scales: list[list[float]]) -> Path:
    """An image with levels of those shapes and scales, whatever they say."""
    image = ome(levels=len(shapes))
    arrays: dict[str, Any] = {}
    for i, (shape, scale) in enumerate(zip(shapes, scales, strict=True)):
        image["datasets"][i]["coordinateTransformations"] = [{"type": "scale", "scale": scale}]
        arrays[f"_{i}"] = {"shape": shape, "chunks": shape, "dtype": "u1"}
    return build(folder, image, **arrays)


def refused(folder: Path, says: str) -> None:
    with pytest.raises(InputError, match=says):
        open_volume(folder)
    for deep in (False, True):
        found = validate(folder, deep=deep, missing_chunks="fill")
        assert any(re.search(says, problem) for problem in found)


@pytest.mark.parametrize(
    ("shapes", "scales", "says"),
    [
        (
            [(8, 64, 64), (4, 32, 32)],
            [[4, 8, 8], [4, 8, 8]],
            "level '1' and level '0' contradict each other along z: 4 voxels of 4 nm are 16 nm, 8 of 4 nm",
        ),
        # As a level that WEBKNOSSOS 4.3 wrote: 64 times as wide.
        (
            [(8, 64, 64), (4, 32, 2048)],
            [[4, 8, 8], [8, 16, 16]],
            "along x: 2048 voxels of 16 nm are 32768 nm",
        ),
        ([(8, 64, 64), (8, 64, 64)], [[4, 8, 8], [4, 16, 16]], "contradict each other along y"),
        (
            [(8, 64, 64), (16, 32, 32)],
            [[4, 8, 8], [2, 16, 16]],
            r"not ordered from fine to coarse: '1' has smaller voxels than '0' along z \(2 after 4 nm\)",
        ),
        ([(8, 64, 64), (4, 32, 32), (4, 64, 16)], [[4, 8, 8], [8, 16, 16], [8, 8, 32]], "than '1' along y"),
    ],
    ids=["halved, same scale", "64 times as wide", "same, doubled scale", "finer in z", "finer than before"],
)
def test_levels_whose_shapes_and_scales_contradict_each_other_are_refused(tmp_path, shapes, scales, says):
    refused(pyramid(tmp_path / "a", shapes, scales), says)


@pytest.mark.parametrize("n", [1, 2, 7, 63, 64, 65, 1000, 1023, 1025])
@pytest.mark.parametrize("rounded", ["up", "down", "ratio"])
def test_every_usual_pyramid_is_read(tmp_path, n, rounded):
    shapes, scales = [(n, 4, 4)], [[8.0, 8.0, 8.0]]
    for i in range(1, 6):
        last = shapes[-1][0]
        now = max(1, -(-last // 2) if rounded == "up" else last // 2)
        shapes.append((now, 4, 4))
        scales.append(
            [8.0 * n / now if rounded == "ratio" else min(8.0 * 2**i, 8.0 * 2 ** n.bit_length()), 8, 8]
        )
    url = pyramid(tmp_path / "a", shapes, scales)
    assert [open_volume(url, level=i).shape for i in range(6)] == shapes


def test_levels_that_begin_at_different_places_are_refused(tmp_path):
    url = pyramid(tmp_path / "a", [(8, 64, 64), (4, 32, 32)], [[4, 8, 8], [8, 16, 16]])
    node = json.loads((url / "zarr.json").read_text())
    level = node["attributes"]["ome"]["multiscales"][0]["datasets"][1]["coordinateTransformations"]
    for z, right in ((2.0, True), (8.0, True), (64.0, False)):
        level[1:] = [{"type": "translation", "translation": [z, 4.0, 4.0]}]
        (url / "zarr.json").write_text(json.dumps(node))
        if right:
            assert open_volume(url, level=1).origin_nm == (z, 4.0, 4.0)
        else:
            refused(url, "level '1' begins at 64 nm along z, level '0' at 0 nm")


SCALE = {"type": "scale", "scale": [4, 8, 16]}
SHIFT = {"type": "translation", "translation": [1, 2, 3]}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("transforms", "says"),
    [
        ([SCALE, SCALE], "2 transformations are a scale; there may be one"),
        ([SCALE, SHIFT, SHIFT], "2 transformations are a translation; there may be one"),
        ([SHIFT, SCALE], "translation before scale; the scale comes first"),
    ],
)
def test_transformations_in_another_number_or_order_are_refused(tmp_path, transforms, says, whole):
    image = ome()
    where = image if whole else image["datasets"][0]
    where["coordinateTransformations"] = transforms
    refused(build(tmp_path / "a", image), says)


@pytest.mark.parametrize("transforms", [[], [SHIFT]])
def test_a_level_with_transformations_but_no_scale_is_refused(tmp_path, transforms):
    image = ome()
    image["datasets"][0]["coordinateTransformations"] = transforms
    refused(build(tmp_path / "a", image), r"level 0 \('0'\) states no scale")


def with_label(folder: Path, label: dict[str, Any]) -> Path:
    url = build(folder, ome())
    group = zarr.open_group(url, mode="r+")
    group.attrs["ome"] = {**dict(group.attrs["ome"]), "image-label": label}  # type: ignore[dict-item]
    return url


def properties(*entries: Any) -> dict[str, Any]:
    return {"properties": list(entries)}


@pytest.mark.parametrize(
    ("label", "says"),
    [
        (
            properties({"label-value": 1, "class": "er"}, {"label-value": 1, "class": "mito"}),
            "properties name the label value 1 twice; mend the 'image-label' metadata, or make a label image",
        ),
        (
            properties({"label-value": 1, "class": "er"}, {"label-value": 2, "name": "er"}),
            "properties name the class 'er' twice",
        ),
        (
            properties(*({"label-value": i, "class": n} for i, n in enumerate("aabbc"))),
            r"properties name the class 'a' twice \(and 1 more\)",
        ),
        (properties({"label-value": 1.5, "class": "er"}), "label-value must be a whole number, got 1.5"),
        (properties({"label-value": "1", "class": "er"}), "label-value must be a whole number, got '1'"),
        (properties({"label-value": True, "class": "er"}), "label-value must be a whole number, got True"),
        (properties({"label-value": float("nan")}), "label-value must be a whole number, got nan"),
        (properties({"class": "er"}), "label-value must be a whole number, got None"),
        (properties("er"), "label-value must be a whole number, got None"),
        ({"properties": {"1": "er"}}, "'properties' of 'image-label' must be a list"),
        (
            {"colors": [{"label-value": 1, "rgba": [0, 0, 0, 0]}, {"label-value": 1}]},
            "colors name the label value 1 twice",
        ),
        ({"colors": [{"label-value": 1, "rgba": [0, 0, 0]}]}, "must be four numbers 0 to 255, got"),
        ({"colors": [{"label-value": 1, "rgba": [0, 0, 0, 0.5]}]}, "must be four numbers 0 to 255"),
        ({"colors": [{"rgba": [0, 0, 0, 0]}]}, "'colors' of 'image-label': label-value must be a whole"),
    ],
)
def test_classes_that_contradict_each_other_are_refused(tmp_path, label, says):
    refused(with_label(tmp_path / "a", label), says)


def test_whole_numbers_may_be_written_as_floats(tmp_path):
    url = with_label(tmp_path / "a", properties({"label-value": 2.0, "class": "er"}))
    assert open_volume(url).classes == (("er", 2),)
