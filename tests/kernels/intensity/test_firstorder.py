"""First-order features are those of PyRadiomics on float64, whatever the grid and the type of the image."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from radiomics_reference import pyradiomics
from strategies import VOXEL_NM, blocks, done, resumed_equals_whole, seeds, semantic, shapes, table, write

import chunkflow_liver as cf
from chunkflow_liver.errors import InputError
from chunkflow_liver.kernels.intensity import firstorder
from chunkflow_liver.kernels.intensity.firstorder import STEPS, UNITS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
SKETCHED = ("10Percentile", "90Percentile", "Median", "InterquartileRange", "RobustMeanAbsoluteDeviation")
BINS = [{}, {"bin_width": 3.5}, {"bin_count": 7}]


def image(shape, seed, dtype):
    rng = np.random.default_rng(seed + 1)
    if np.dtype(dtype).kind == "f":
        return (rng.normal(100, 40, shape) * rng.choice([1e-3, 1.0])).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(max(info.min, -3000), min(info.max, 3000), shape, dtype, endpoint=True)


def agrees(found, labels, raw, chosen):
    given_ = {{"bin_width": "binWidth", "bin_count": "binCount"}[k]: v for k, v in chosen.items()}
    exact = raw.dtype.kind in "ui" and raw.dtype.itemsize <= 2
    for row, label in enumerate(found["label"]):
        box = tuple(slice(found[f"bbox_{a}_min"][row], found[f"bbox_{a}_max"][row]) for a in "zyx")
        wanted = pyradiomics("firstorder", labels[box], label, raw[box], **given_)
        got = {name: found[f"firstorder_{name}"][row] for name in wanted}
        values = raw[box][labels[box] == label].astype(float)
        flat = np.ptp(values) == 0
        for name, value in wanted.items():
            if np.isnan(value):
                assert np.isnan(got[name]), name
            elif flat and name in ("Skewness", "Kurtosis"):
                # its mean of equal values may be off by a bit, which it then divides by its square
                assert got[name] == 0
            elif exact or name not in SKETCHED:
                slack = 1e-12 * np.abs(values).max() ** (2 if name == "Variance" else 1)
                if name == "MeanAbsoluteDeviation" and raw.dtype == np.float64:
                    slack = 1e-7 * np.abs(values).max()
                assert got[name] == pytest.approx(value, rel=1e-6, abs=slack), (label, name)
            elif "Robust" not in name or len(values) > 50:
                assert got[name] == pytest.approx(value, abs=2 * np.ptp(values) / STEPS + 1e-12), (
                    label,
                    name,
                )


def measured(folder, labels, raw, chosen, block=None):
    cells = write(folder, labels, "cells", kind="label")
    at = {"name": "t", "work": Path(folder) / "work", "block": block}
    given_ = {"features": ["basic", "firstorder"], "settings": chosen}
    return cf.measure(cells, raw=write(folder, raw, "raw"), **given_, **at)


@settings(max_examples=20, deadline=None)
@given(
    shape=shapes,
    seed=seeds,
    block=blocks,
    dtype=st.sampled_from(["uint8", "int16", "uint16", "int32", "float32", "float64"]),
    chosen=st.sampled_from(BINS),
)
def test_the_table_does_not_depend_on_the_grid(shape, seed, block, dtype, chosen):
    labels, raw = semantic(shape, seed), image(shape, seed, dtype)
    with tempfile.TemporaryDirectory() as folder:
        plans = [measured(f"{folder}/{cut}", labels, raw, chosen, cut) for cut in (None, block)]
        found = [table(plan) for plan in plans]
        assert Path(plans[0].output.path).read_bytes() == Path(plans[1].output.path).read_bytes()
    agrees(found[1], labels, raw, chosen)


def like_em(shape):
    """A gradient, a texture and noise, 0 to 255."""
    z, y, x = np.indices(shape, sparse=True)
    noise = np.random.default_rng(0).normal(0, 12, shape)
    return (120 + 0.2 * z + 20 * np.sin(y / 5) * np.cos(x / 7) + noise).clip(0, 255)


@pytest.mark.parametrize("name", ["fib1-0-0-0", "fib1-1-0-3", "fib1-3-2-1"])
def test_real_mitochondria_have_the_numbers_of_pyradiomics(name, em_data, tmp_path):
    """All instances of real volumes, over an image like EM."""
    labels = tifffile.imread(em_data / f"urocell_labels/mito_instance_{name}.tif")
    raw = like_em(labels.shape).astype(np.uint8)
    found = table(measured(tmp_path, labels, raw, {}, (100, 128, 96)))
    assert found["label"] == np.unique(labels[labels > 0]).tolist()
    agrees(found, labels, raw, {})


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("chosen", BINS, ids=str)
def test_real_forms_have_the_numbers_of_pyradiomics(dtype, chosen, em_data, tmp_path):
    labels = tifffile.imread(em_data / "urocell_labels/mito_instance_fib1-1-0-3.tif")[:100, :120, :120]
    raw = (like_em(labels.shape) * (200 if dtype == "uint16" else 1)).astype(dtype)
    chosen = {k: v * 200 if dtype == "uint16" and k == "bin_width" else v for k, v in chosen.items()}
    agrees(table(measured(tmp_path, labels, raw, chosen, (64, 64, 96))), labels, raw, chosen)


def test_six_values_worked_by_hand(tmp_path):
    """A line of 10, 10, 10, 20, 20, 50 over two blocks of voxels of 512 nm^3."""
    labels = np.zeros((3, 4, 10), np.uint8)
    labels[1, 2, 2:8] = 1
    raw = np.zeros(labels.shape, np.uint8)
    raw[1, 2, 2:8] = [10, 10, 10, 20, 20, 50]
    plan = measured(tmp_path, labels, raw, {"bin_width": 10}, (3, 4, 5))
    found = {k.removeprefix("firstorder_"): v[0] for k, v in table(plan).items()}
    assert found["Energy"] == 300 + 800 + 2500
    assert found["TotalEnergy"] == pytest.approx(3600 * 512e-9)
    assert found["Mean"] == 20
    assert found["Median"] == 15
    assert found["InterquartileRange"] == 10
    assert (found["10Percentile"], found["90Percentile"]) == (10, 35)
    assert found["MeanAbsoluteDeviation"] == 10
    assert found["RobustMeanAbsoluteDeviation"] == pytest.approx((3 * 4 + 2 * 6) / 5)
    assert found["Variance"] == pytest.approx((300 + 900) / 6)
    assert found["Uniformity"] == pytest.approx((9 + 4 + 1) / 36)
    assert found["Entropy"] == pytest.approx(0.5 + np.log2(3) / 3 + np.log2(6) / 6)
    assert cf.read_table(plan.output).schema.field("firstorder_TotalEnergy").metadata == {
        b"unit": b"micrometer^3"
    }


@pytest.mark.parametrize(("offset", "scale"), [(1e9 + 20, 1.0), (0.0, 2.0**-170)])
def test_float64_values_that_float32_cannot_hold_keep_their_moments(offset, scale, tmp_path):
    """Small differences at 1e9, where float32 values are 64 apart; and all values below its smallest one."""
    small = (1 + np.random.default_rng(3).integers(0, 1 << 10, (3, 4, 5)) ** 2) / 2.0**20 * scale
    raw = offset + small
    labels = np.ones(raw.shape, np.uint8)
    found = {k: v[0] for k, v in table(measured(tmp_path, labels, raw, {}, (2, 3, 3))).items()}
    np.testing.assert_array_equal(raw - offset, small)
    off = small - small.mean()
    variance = (off**2).mean()
    if offset:
        assert found["intensity_mean"] == pytest.approx(raw.mean(), rel=1e-15)
        assert found["intensity_sd"] == pytest.approx(variance**0.5, rel=1e-12)
    else:
        assert found["intensity_mean"] == 0
    assert found["firstorder_Mean"] == pytest.approx(raw.mean(), rel=1e-15)
    assert found["firstorder_Variance"] == pytest.approx(variance, rel=1e-9)
    assert found["firstorder_Skewness"] == pytest.approx((off**3).mean() / variance**1.5, rel=1e-9)
    assert found["firstorder_Kurtosis"] == pytest.approx((off**4).mean() / variance**2, rel=1e-9)


def test_voxels_are_taken_in_slabs(monkeypatch, tmp_path):
    labels, raw = semantic((9, 8, 7), 4), image((9, 8, 7), 4, "float32")
    whole = table(measured(tmp_path / "a", labels, raw, {}))
    monkeypatch.setattr(firstorder, "_SLAB", 11)
    assert table(measured(tmp_path / "b", labels, raw, {})) == whole


def test_a_volume_without_objects_has_all_columns(tmp_path):
    for dtype in ("uint8", "float32"):
        zeros = np.zeros((3, 4, 5), np.uint8)
        found = cf.read_table(done(measured(tmp_path / dtype, zeros, zeros.astype(dtype), {})))
        assert found.num_rows == 0
        assert set(UNITS) <= set(found.schema.names)


def test_values_that_are_no_numbers_are_refused(tmp_path):
    labels, raw = np.ones((3, 4, 5), np.uint8), np.ones((3, 4, 5), np.float32)
    raw[1, 2, 3] = np.nan
    with pytest.raises(InputError, match=r"object 1 holds intensities that are not finite"):
        table(measured(tmp_path, labels, raw, {}))


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    labels = write(tmp_path, semantic((9, 9, 9), 3), "cells", kind="label")
    raw = write(tmp_path, image((9, 9, 9), 3, "float32"), "raw", voxel_nm=VOXEL_NM)

    def plan(work):
        return cf.measure(labels, raw=raw, features=["firstorder"], name="t", work=work, block=(3, 9, 9))

    resumed_equals_whole(plan, tmp_path, "t/features", 1)
