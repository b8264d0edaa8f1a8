"""Sums of objects on a device: whole numbers, so the same as on the host to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from device_arrays import DeviceArray, stand_in
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.features.basic import block_sums
from chunkflow_liver.kernels.features.device_sums import sums_fit


@pytest.fixture
def device(monkeypatch):
    return stand_in(monkeypatch)


@pytest.fixture(scope="module")
def anywhere():
    """The stand-in for tests with many examples."""
    with pytest.MonkeyPatch.context() as patch:
        yield stand_in(patch)


SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)
LABELS = [0, 1, 2, 7, 2**53 + 1, 2**64 - 1]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=st.sampled_from([None, np.uint8, np.int16, np.uint16, np.float32, np.int32]))
def test_the_device_finds_the_sums_of_the_host(anywhere, data, kind):
    shape = data.draw(SHAPES)
    labels = data.draw(hnp.arrays(np.uint64, shape, elements=st.sampled_from(LABELS)))
    finite = {"allow_nan": False, "allow_infinity": False} if kind is np.float32 else None
    raw = None if kind is None else data.draw(hnp.arrays(kind, shape, elements=finite))
    host = block_sums(labels, raw)
    there = block_sums(labels.view(DeviceArray), None if raw is None else raw.view(DeviceArray))
    assert set(there) == set(host)
    for name, column in host.items():
        assert type(there[name]) is np.ndarray
        assert there[name].dtype == column.dtype
        np.testing.assert_array_equal(there[name], column)


def test_what_a_device_cannot_add_exactly_is_left_to_the_host():
    kinds = (np.uint8, np.int16, np.uint16, np.int32, np.uint64, np.float32)
    assert [sums_fit(np.zeros(1, kind)) for kind in kinds] == [True, True, True, False, False, False]
    assert sums_fit(None)


def test_a_table_of_the_device_is_that_of_the_host(device, tmp_path):
    rng = np.random.default_rng(1)
    labels = np.kron(rng.integers(0, 5, (3, 4, 4)), np.ones((3, 3, 3), np.uint8)).astype(np.uint32)
    raw = rng.integers(0, 200, labels.shape, dtype=np.uint8)
    size = {"voxel_nm": (4.0, 8.0, 16.0)}
    instances = cf.write_volume(tmp_path / "i.ome.zarr", labels, kind="label", **size)
    image = cf.write_volume(tmp_path / "r.ome.zarr", raw, **size)
    tables = {}
    for where in ("cpu", "cuda:1"):
        plan = cf.measure(
            instances,
            raw=image,
            features=["basic", "shape", "firstorder", "glcm", "gldm", "ngtdm"],
            settings={"device": where},
            name="t",
            work=tmp_path / where.replace(":", ""),
            block=(5, 6, 7),
        )
        assert {stage.name: stage.device for stage in plan.maps} == {"t/sums": where, "t/features": where}
        assert all((stage.device_bytes > 0) == (where != "cpu") for stage in plan.maps)
        tables[where] = cf.read_table(cf.run(plan, progress=False).output)
    assert set(device.used) == {1}
    assert tables["cuda:1"].to_pydict() == tables["cpu"].to_pydict()


def test_a_device_that_cannot_be_is_refused(tmp_path):
    labels = cf.write_volume(
        tmp_path / "i.ome.zarr", np.ones((2, 2, 2), np.uint8), voxel_nm=(4, 8, 16), kind="label"
    )
    with pytest.raises(ConfigError, match=r"no device 'gpu'; there are 'cpu', 'cuda' and 'cuda:0'"):
        cf.measure(labels, settings={"device": "gpu"}, name="t", work=tmp_path / "w")
