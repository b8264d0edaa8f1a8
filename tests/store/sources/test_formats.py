"""Foreign volumes: every format gives the voxels, order, type and size that were written."""

from __future__ import annotations

import pickle
import tarfile
from pathlib import Path
from typing import Any

import heaps
import numpy as np
import pytest
import tifffile
from foreign_files import (
    FORMATS,
    SHAPE,
    VOXEL_NM,
    Format,
    hdf5,
    mrc,
    nifti,
    tiff,
    volume,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import DATA

from chunkflow_liver.errors import ChunkError, InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.sources import Source, open_source

tensorstore = pytest.importorskip("tensorstore")


@pytest.mark.parametrize("case", FORMATS, ids=str)
def test_every_format_gives_back_voxels_type_and_voxel_size(case: Format, tmp_path: Path) -> None:
    source = pickle.loads(pickle.dumps(open_source(case.make(tmp_path))))
    expected = volume(case.dtype)
    assert source.shape == SHAPE
    assert source.dtype == case.dtype
    # A TIFF's resolution is a ratio of 32-bit numbers; tifffile before 2026 did not take the nearest.
    assert source.voxel_nm == (pytest.approx(VOXEL_NM, rel=1e-8) if case.says_size else None)
    assert all(1 <= c <= n for c, n in zip(source.chunks, SHAPE, strict=True))
    for box in (Box.of(SHAPE), Box((1, 3, 2), (4, 11, 13)), Box((4, 11, 13), SHAPE)):
        got = source.read(box)
        np.testing.assert_array_equal(got, expected[box.slices])
        assert got.dtype.isnative
        assert got.flags.c_contiguous
        assert got.flags.writeable
    with pytest.raises(InputError, match="does not lie inside"):
        source.read(Box((0, 0, 0), (6, 12, 14)))
    with pytest.raises(InputError, match="does not lie inside"):
        source.read(Box((1, 1, 1), (1, 2, 2)))


@pytest.mark.parametrize("case", FORMATS, ids=str)
def test_identity_is_the_same_elsewhere_and_changes_with_the_content(case: Format, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    path = case.make(tmp_path / "one")
    before = open_source(path).identity()
    (tmp_path / "one").rename(tmp_path / "two")
    moved = tmp_path / "two" / path.name
    assert open_source(moved).identity() == before
    files = [moved] if moved.is_file() else sorted(f for f in moved.rglob("*") if f.is_file())
    source = open_source(moved)
    with files[-1].open("ab") as file:
        file.write(b"\0")
    assert source.identity() != before


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Source, np.ndarray[Any, Any]]]:
    found = []
    for case in FORMATS:
        source = open_source(case.make(tmp_path_factory.mktemp("f")))
        found.append((source, volume(case.dtype)))
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), which=st.integers(0, len(FORMATS) - 1))
def test_any_box_of_any_format_is_that_part_of_the_array(
    many: list[tuple[Source, np.ndarray[Any, Any]]], data: st.DataObject, which: int
) -> None:
    source, expected = many[which]
    start = tuple(data.draw(st.integers(0, n - 1)) for n in SHAPE)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, SHAPE, strict=True))
    box = Box(start, stop)
    np.testing.assert_array_equal(source.read(box), expected[box.slices])


@pytest.mark.parametrize("suffix", ["tif", "mrc", "nii", "h5"])
def test_memory_is_the_box_and_not_the_file(suffix: str, tmp_path: Path) -> None:
    array = np.zeros((64, 256, 256), "uint16")
    make = {"tif": tiff, "mrc": mrc, "nii": nifti, "h5": hdf5}[suffix]
    source = open_source(make(tmp_path / f"a.{suffix}", array))
    box = Box((30, 10, 10), (32, 250, 250))
    source.read(box)
    with heaps.peak() as highest:
        source.read(box)
    assert highest[0] < 4 * box.size * 2 < array.nbytes / 8


def test_a_gzip_slab_is_read_without_the_slices_behind_it(tmp_path: Path) -> None:
    array = volume("uint16", (64, 64, 64))
    path = nifti(tmp_path / "a.nii.gz", array)
    source = open_source(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    np.testing.assert_array_equal(source.read(Box((2, 0, 0), (6, 64, 64))), array[2:6])
    with pytest.raises(ChunkError, match="cannot be decompressed up to slices 60 to 63"):
        source.read(Box((60, 0, 0), (64, 64, 64)))


def _real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"real data {name} is not in ../shared/data")
    return path


@pytest.mark.parametrize(
    "name",
    [
        "celegans_em_crop/raw.tif",
        "urocell_labels/fv_instance_fib1-3-2-1.tif",
        "cdeep3m_sbem_mito/train_z10-29_raw.tif",
    ],
)
def test_a_real_stack_is_read_like_tifffile_reads_it(name: str) -> None:
    path = _real(name)
    whole = tifffile.imread(path)
    source = open_source(path)
    assert (source.shape, source.dtype) == (whole.shape, whole.dtype.name)
    box = Box((3, 17, 40), (9, 203, 211))
    np.testing.assert_array_equal(source.read(box), whole[box.slices])


def test_a_real_n5_volume_is_read(tmp_path: Path) -> None:
    archive = _real("ngff/ngff_samples.tar.gz")
    with tarfile.open(archive) as tar:
        inside = "ngff/elf_n5/data/label_multiset/test.n5"
        tar.extractall(tmp_path, [m for m in tar.getmembers() if m.name.startswith(inside)], filter="data")
    source = open_source(tmp_path / inside, dataset="range")
    assert (source.shape, source.dtype) == ((32, 32, 32), "uint64")
    reference = tensorstore.open(
        {"driver": "n5", "kvstore": {"driver": "file", "path": str(tmp_path / inside / "range")}}
    ).result()
    np.testing.assert_array_equal(source.read(Box.of((32, 32, 32))), reference.read().result().T)
    with pytest.raises(InputError, match="holds 2 arrays"):
        open_source(tmp_path / inside)
