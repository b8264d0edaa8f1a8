"""What must hold on a CUDA device: the same numbers as on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
from model_folders import write_model_folder

import chunkflow_liver as cf
from chunkflow_liver.geometry import Block, Box
from chunkflow_liver.kernels.distance.transform import distance_nm
from chunkflow_liver.kernels.features.basic import block_sums
from chunkflow_liver.kernels.features.groups import Settings, View
from chunkflow_liver.kernels.images.downsample import mean, mode
from chunkflow_liver.kernels.intensity.describe import GLCM, GLDM, NGTDM
from chunkflow_liver.segmenters.nnunet.folder import read_model
from chunkflow_liver.xp import on_host

pytestmark = pytest.mark.gpu


@pytest.fixture
def cupy():
    found = pytest.importorskip("cupy")
    if not found.cuda.is_available():
        pytest.skip("this machine has no usable CUDA device")
    return found


def test_distances_on_the_device_are_those_of_the_host(cupy):
    mask = np.random.default_rng(0).random((40, 50, 60)) > 0.999
    host = distance_nm(mask, (4, 8, 16), 200.0)
    device = distance_nm(cupy.asarray(mask), (4, 8, 16), 200.0)
    assert isinstance(device, cupy.ndarray)
    np.testing.assert_allclose(on_host(device), host, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"signed": True}, {"quantum_nm": 0.5}], ids=str)
def test_distance_maps_of_the_device_are_those_of_the_host(cupy, options, tmp_path):
    mask = np.random.default_rng(0).random((40, 50, 60)) > 0.99
    volume = cf.write_volume(
        tmp_path / "er.ome.zarr", mask.astype(np.uint8), voxel_nm=(4, 8, 16), kind="label"
    )
    found = {}
    for device in ("cpu", "cuda"):
        plan = cf.distance(
            volume,
            to=1,
            cap_nm=100.0,
            name="d",
            work=tmp_path / device,
            block=(40, 16, 32),
            options=cf.DistanceOptions(**options),
            device=device,
        )
        found[device] = cf.run(plan, progress=False).output.read()
    np.testing.assert_allclose(found["cuda"], found["cpu"], rtol=1e-5)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.float32])
def test_sums_of_the_device_are_those_of_the_host(cupy, kind):
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 4, (4, 4, 4)), np.ones((5, 5, 5))).astype(np.uint64)
    labels[labels == 3] = 2**64 - 1
    raw = (rng.random(labels.shape) * 250).astype(kind)
    host = block_sums(labels, raw)
    for name, column in block_sums(cupy.asarray(labels), cupy.asarray(raw)).items():
        assert isinstance(column, np.ndarray)
        assert column.dtype == host[name].dtype
        np.testing.assert_array_equal(column, host[name])


@pytest.mark.parametrize("levels", [{}, {"bin_width": 0.01}, {"bin_count": 7, "distances": [1, 2]}], ids=str)
def test_texture_counts_of_the_device_are_those_of_the_host(cupy, levels):
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 4, (4, 4, 4)), np.ones((5, 5, 5))).astype(np.uint32)
    raw = rng.random(labels.shape, np.float32)
    box = Box.of((20, 20, 20))
    block = Block(0, (0, 0, 0), Box((2, 2, 2), (18, 20, 17)), box, box)
    objects = {
        "label": np.array([1, 2, 3], np.uint64),
        "intensity_min": np.array([raw[labels == n].min() for n in (1, 2, 3)]),
        "intensity_max": np.array([raw[labels == n].max() for n in (1, 2, 3)]),
    }
    settings = Settings.of(levels)
    host = View(block, labels, raw, objects, (4.0, 8.0, 16.0), settings)
    device = View(block, cupy.asarray(labels), cupy.asarray(raw), objects, (4.0, 8.0, 16.0), settings)
    for group in (GLCM, GLDM, NGTDM):
        for table, columns in group.sums(host).items():
            for name, values in group.sums(device)[table].items():
                assert isinstance(values, np.ndarray)
                np.testing.assert_array_equal(values, columns[name])


@pytest.mark.parametrize("reduce", [mean, mode])
def test_pyramids_on_the_device_are_those_of_the_host(cupy, reduce):
    voxels = np.random.default_rng(0).integers(0, 5, (9, 10, 11), dtype=np.uint8)
    np.testing.assert_array_equal(on_host(reduce(cupy.asarray(voxels), (2, 2, 2))), reduce(voxels, (2, 2, 2)))


def test_labels_of_the_device_are_those_of_the_cpu(tmp_path):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this machine has no usable CUDA device")
    model = write_model_folder(tmp_path / "model")
    voxels = np.random.default_rng(0).integers(0, 255, (24, 48, 48), dtype=np.uint8)
    spacing = [s or 1.0 for s in read_model(model).spacing_zyx]
    raw = cf.write_volume(tmp_path / "raw.ome.zarr", voxels, voxel_nm=spacing)
    found = {}
    for device in ("cpu", "cuda"):
        plan = cf.segment(
            raw, model=model, name="classes", work=tmp_path / device, device=device, precision="float32"
        )
        found[device] = cf.run(plan).output.read()
    assert (found["cpu"] == found["cuda"]).mean() > 0.9999
