"""Distances of a device: what is asked of CuPy and cuCIM, with arrays of this machine in their place."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
from device_arrays import DeviceArray, stand_in
from scipy import ndimage
from strategies import VOXEL_NM, done, semantic, write

import chunkflow_liver as cf
from chunkflow_liver import DistanceOptions as Options
from chunkflow_liver.errors import ClusterError, ConfigError
from chunkflow_liver.xp import namespace, on_device, on_host


@pytest.fixture
def device(monkeypatch):
    """Stand-ins for CuPy and cuCIM; lists what was moved, and the devices and transforms that were used."""
    seen = stand_in(monkeypatch)
    morphology = ModuleType("cucim.core.operations.morphology")

    def transform(image, sampling):
        assert isinstance(image, DeviceArray)
        seen.transforms += 1
        return ndimage.distance_transform_edt(image.get(), sampling=sampling).view(DeviceArray)

    morphology.distance_transform_edt = transform
    for name in ("cucim", "cucim.core", "cucim.core.operations"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, morphology.__name__, morphology)
    return seen


def both(volume, tmp_path, **options):
    """Distances and flags of the host and of the device."""
    found = []
    for name in ("cpu", "cuda:1"):
        work = tmp_path / name.replace(":", "")
        plan = cf.distance(volume, name="d", work=work, device=name, block=(9, 16, 16), **options)
        distance = done(plan).read()
        labels = (work / "results.ome.zarr/labels").glob("d-*")
        found.append([distance, *(cf.open_volume(p).read() for p in sorted(labels))])
    return found


@pytest.mark.parametrize(
    "options",
    [
        {"to": "er"},
        {"to": "er", "options": Options(signed=True, border="background")},
        {"to": "er", "options": Options(signed=True, quantum_nm=0.5)},
        {"options": Options(nearest=True, signed=True)},
    ],
    ids=str,
)
def test_a_device_gives_the_distances_of_the_host(device, options, tmp_path):
    volume = write(tmp_path, semantic((9, 20, 33), 3))
    host, there = both(volume, tmp_path, cap_nm=40.0, **options)
    for here, found in zip(host, there, strict=True):
        assert here.dtype == found.dtype
        np.testing.assert_allclose(found, here, rtol=1e-5)
    assert device.used == [1] * 6


def test_a_block_is_moved_to_the_device_once(device, tmp_path):
    volume = write(tmp_path, semantic((9, 16, 16), 3))
    both(volume, tmp_path, to="er", cap_nm=40.0)
    assert [shape for shape in device.moved if len(shape) == 3] == [volume.shape]
    assert device.transforms == 1


def test_arrays_stay_where_they_are_asked_to(device):
    array = np.ones((2, 2, 2))
    assert on_device(array, "cpu") is array
    there = on_device(array, "cuda")
    assert namespace(there) is sys.modules["cupy"]
    assert type(on_host(there)) is np.ndarray
    assert device.used == [0]


def test_a_machine_without_cupy_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(
        ClusterError, match=r"device 'cuda:2' needs CuPy; pip install 'chunkflow-liver\[gpu\]'"
    ):
        on_device(np.ones(3), "cuda:2")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"device": "tpu"}, "no device 'tpu'; there are 'cpu', 'cuda' and 'cuda:0'"),
        ({"device": "cuda", "cap_nm": None}, "without a cap_nm distances are computed on the CPU; leave out"),
        (
            {"device": "cuda", "cap_nm": 300.0},
            r"blocks of \(3, 3, 1008\) with a halo of \(75, 38, 19\) are up to 1046 voxels long, and the "
            "device's transform takes at most 1024; take smaller blocks or device 'cpu'",
        ),
    ],
    ids=str,
)
def test_what_a_device_cannot_do_is_refused(options, says, tmp_path, listing):
    volume = write(tmp_path, np.zeros((3, 3, 1100), np.uint8))
    before = listing()
    with pytest.raises(ConfigError, match=says):
        cf.distance(
            volume,
            **{"to": 1, "cap_nm": 10.0, "name": "d", "work": tmp_path / "w", "block": (3, 3, 1008)} | options,
        )
    assert listing() == before


def test_the_plan_says_how_much_memory_of_the_device_it_needs(tmp_path):
    volume = write(tmp_path, semantic((9, 20, 33), 3))
    at = {"to": "er", "cap_nm": 16.0, "name": "d", "work": tmp_path / "w", "block": (9, 16, 16)}
    stage = cf.distance(volume, device="cuda", **at).maps[0]
    assert (stage.device, VOXEL_NM) == ("cuda", volume.voxel_nm)
    assert stage.device_bytes == 9 * 20 * 18 * 14 + 20**3 * 64
    assert cf.distance(volume, **at).maps[0].device_bytes == 0
