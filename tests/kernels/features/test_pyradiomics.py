"""The engine 'pyradiomics' gives what the package gives for each object, and says what it refuses."""

from __future__ import annotations

import builtins
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from radiomics_reference import textures
from solids import grey
from strategies import VOXEL_NM, blocks, components, done, resumed_equals_whole, seeds, semantic, table, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.features.pyradiomics import extractor

radiomics = pytest.importorskip("radiomics")

PARAMETERS = """
setting:
  binWidth: 10
  label: 1
featureClass:
  glcm: [Contrast, Correlation]
  ngtdm:
imageType:
  Original: {}
"""


def objects():
    labels = np.zeros((9, 10, 12), np.uint64)
    labels[1:5, 1:6, 1:7], labels[4:8, 6:10, 5:11], labels[8, 0, 0] = 2**60 + 1, 4, 2
    return labels


def measured(folder, labels, raw, block=None, **options):
    cells, image = write(folder, labels, "cells", kind="label"), write(folder, raw, "raw")
    at = {"name": "t", "work": f"{folder}/work", "block": block}
    return cf.measure(cells, raw=image, engine="pyradiomics", **at, **options)


def test_a_parameter_file_gives_the_numbers_of_the_package(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(PARAMETERS)
    labels = objects()
    raw = grey(labels.shape, 2)
    plan = measured(tmp_path, labels, raw, (4, 5, 6), settings=file)
    found = table(plan)
    told = json.loads(cf.read_table(plan.output).schema.metadata[b"chunkflow_liver"])
    assert told["engine"] == f"pyradiomics {radiomics.__version__}"
    assert found["label"] == [2, 4, 2**60 + 1]
    assert "single voxel" in found["pyradiomics_refused"][0]
    assert found["pyradiomics_refused"][1:] == ["", ""]
    names = [name for name in found if name.startswith("original_")]
    assert len(names) == 2 + 5
    assert all(np.isnan(found[name][0]) for name in names)
    for row, label in enumerate(found["label"][1:], 1):
        expected = textures(raw, labels == label, {"binWidth": 10})
        for name in names:
            assert found[name][row] == pytest.approx(expected[name.removeprefix("original_")], rel=1e-12)


def test_features_name_its_classes_and_settings_its_settings(tmp_path):
    labels = objects()
    raw = grey(labels.shape, 3)
    options = {"features": ["basic", "firstorder", "shape"], "settings": {"binCount": 8, "crop_voxels": 500}}
    found = table(measured(tmp_path, labels, raw, **options))
    assert "centroid_z_nm" in found
    ours = table(
        cf.measure(
            cf.open_volume(tmp_path / "cells.ome.zarr"), features=["shape"], name="own", work=tmp_path / "own"
        )
    )
    for row in (1, 2):
        inside = raw[labels == found["label"][row]]
        assert found["original_firstorder_Mean"][row] == pytest.approx(inside.mean())
        volume = len(inside) * np.prod(VOXEL_NM) / 1e9
        assert found["original_shape_VoxelVolume"][row] == pytest.approx(volume)
        for name in ("MeshVolume", "Maximum3DDiameter"):
            assert found[f"original_shape_{name}"][row] == pytest.approx(ours[f"shape_{name}"][row], rel=1e-6)


def test_filters_see_what_lies_around_an_object(tmp_path):
    """A Laplacian of a Gaussian near an object's border depends on voxels outside of it."""
    labels = np.zeros((16, 16, 16), np.uint8)
    labels[5:11, 5:11, 5:11] = 1
    parameters = {
        "imageType": {"LoG": {"sigma": [0.016]}},
        "featureClass": {"firstorder": ["Mean"]},
        "setting": {"padDistance": 4},
    }
    got = []
    for outside in (0, 200):
        raw = np.where(labels > 0, 100, outside).astype(np.uint8)
        found = table(measured(tmp_path / str(outside), labels, raw, settings=parameters))
        (name,) = (n for n in found if n.startswith("log-sigma"))
        got.append(found[name][0])
    assert abs(got[0] - got[1]) > 1


@settings(max_examples=5, deadline=None)
@given(seed=seeds, block=blocks)
def test_the_table_does_not_depend_on_the_grid(seed, block):
    labels = components(semantic((8, 9, 7), seed, 1), 26).astype(np.uint32)
    got = []
    for cut in (None, block):
        with tempfile.TemporaryDirectory() as folder:
            plan = measured(folder, labels, grey(labels.shape, seed), cut, settings=PARAMETER_VALUES)
            done(plan)
            got.append(Path(plan.output.path).read_bytes())
    assert got[0] == got[1]


PARAMETER_VALUES = {"featureClass": {"glcm": ["Contrast"], "glszm": None}, "setting": {"binWidth": 5}}


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    array = semantic((9, 9, 9), 3)
    classes, raw = write(tmp_path, array), write(tmp_path, grey(array.shape, 2), "raw")

    def plan(work):
        at = {"work": work, "block": (3, 9, 9)}
        cells = cf.label(classes, name="cells", **at)
        options = {"engine": "pyradiomics", "settings": PARAMETER_VALUES}
        return cells + cf.measure(cells.output, raw=raw, name="t", **options, **at)

    resumed_equals_whole(plan, tmp_path, "t/whole", 1)


def test_what_the_engine_cannot_do_is_refused(tmp_path, monkeypatch):
    labels = objects()
    cells, raw = write(tmp_path, labels, "cells", kind="label"), write(tmp_path, grey(labels.shape, 1), "raw")

    def refused(says, **options):
        with pytest.raises(ConfigError, match=says):
            cf.measure(cells, raw=raw, name="t", work=tmp_path / "work", **options)

    refused("no engine 'nyxus'; there are", engine="nyxus")
    refused(
        "parameter file .*nothing.yaml cannot be read",
        engine="pyradiomics",
        settings=tmp_path / "nothing.yaml",
    )
    (tmp_path / "list.yaml").write_text("- a\n")
    refused("holds no names and values", engine="pyradiomics", settings=tmp_path / "list.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    refused("is no YAML", engine="pyradiomics", settings=tmp_path / "bad.yaml")
    refused("PyRadiomics refuses its parameters", engine="pyradiomics", features=["colour"])
    refused("PyRadiomics refuses its parameters", engine="pyradiomics", settings={"binWidth": "wide"})
    refused(
        "both say what to measure",
        engine="pyradiomics",
        features=["glcm"],
        settings={"featureClass": {"glcm": None}},
    )
    refused(
        "settings must be names and values, got .*; a file is for an engine", settings=tmp_path / "list.yaml"
    )
    real = builtins.__import__

    def without(name, *more, **options):
        if name.startswith("radiomics"):
            raise ModuleNotFoundError("No module named 'radiomics'", name="radiomics")
        return real(name, *more, **options)

    extractor.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    refused("needs 'radiomics'; pip install 'chunkflow-liver\\[radiomics\\]'", engine="pyradiomics")


def test_too_large_objects_are_refused_by_name(tmp_path):
    labels = objects()
    plan = measured(tmp_path, labels, grey(labels.shape, 1), settings={"crop_voxels": 100})
    with pytest.raises(Exception, match=rf"bounding boxes of {2**60 + 1} \(120 voxels\)"):
        done(plan)
