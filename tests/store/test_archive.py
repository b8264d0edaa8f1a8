"""Zipped OME-Zarr: read like a folder, never written, and damage is named."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

import chunkflow_liver as cf
from chunkflow_liver.errors import ChunkError, InputError, OutputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.create import write_volume
from chunkflow_liver.store.images import open_volume, validate
from chunkflow_liver.store.sources import open_source

NM = (4.0, 8.0, 16.0)


def zipped(folder: Path, to: Path, how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(to, "w", how) as archive:
        for file in sorted(f for f in folder.rglob("*") if f.is_file()):
            archive.write(file, file.relative_to(folder))
    return to


@pytest.fixture
def folder(tmp_path, voxels):
    write_volume(tmp_path / "a.ome.zarr", voxels, voxel_nm=NM)
    write_volume(tmp_path / "a.ome.zarr/labels/ids", voxels, voxel_nm=NM, kind="label", classes={"er": 1})
    return tmp_path / "a.ome.zarr"


@pytest.mark.parametrize("ending", ["ozx", "ome.zarr.zip", "OZX"])
@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_a_zip_file_is_read_like_the_folder_that_is_in_it(tmp_path, voxels, listing, version, ending):
    made = write_volume(tmp_path / "a.ome.zarr", voxels, voxel_nm=NM, ome_version=version)
    file = zipped(Path(made.url), tmp_path / f"a.{ending}", zipfile.ZIP_DEFLATED)
    before = listing()
    volume = open_volume(file)
    assert (volume.voxel_nm, volume.ome_version, volume.levels) == (NM, version, made.levels)
    np.testing.assert_array_equal(volume.read(), voxels)
    part = Box((3, 4, 5), (20, 40, 44))
    np.testing.assert_array_equal(volume.read(part), voxels[part.slices])
    assert validate(file, deep=True) == []
    assert volume.missing() == []
    assert volume.identity()
    assert listing() == before


def test_an_image_inside_the_archive_is_read(folder, tmp_path, voxels):
    file = zipped(folder, tmp_path / "a.ozx")
    volume = open_volume(f"{file}/labels/ids")
    assert (volume.kind, volume.classes) == ("label", (("er", 1),))
    np.testing.assert_array_equal(volume.read(), voxels)
    with pytest.raises(InputError, match=r"it lists the label images \['ids'\], open one of them"):
        open_volume(f"{file}/labels")
    with pytest.raises(InputError, match="is not a zarr group"):
        open_volume(f"{file}/labels/none")


def test_an_archive_that_ngff_zarr_wrote_holds_what_its_folder_holds(em_data):
    archive, folder = (em_data / f"foreign_files/ngff/nz{end}" for end in (".ozx", "0.6.ome.zarr"))
    read = open_volume(archive)
    assert (read.ome_version, read.voxel_nm) == ("0.5", (40, 8, 8))
    np.testing.assert_array_equal(read.read(), open_volume(folder).read())
    assert validate(archive, deep=True) == []


def test_a_run_reads_an_archive_and_does_not_write_into_it(folder, tmp_path):
    file = zipped(folder, tmp_path / "a.ozx")
    before = file.read_bytes()
    labels = open_volume(f"{file}/labels/ids")
    plan = cf.label(labels, classes=["er"], name="er", work=tmp_path / "run")
    cf.run(plan, progress=False)
    plain = cf.label(open_volume(folder / "labels/ids"), classes=["er"], name="er", work=tmp_path / "plain")
    cf.run(plain, progress=False)
    np.testing.assert_array_equal(plan.output.read(), plain.output.read())
    inside = cf.label(labels, classes=["er"], name="er", into=str(file), work=tmp_path / "other")
    with pytest.raises(OutputError, match="would be in a zip file, and those are only read"):
        cf.run(inside, progress=False)
    assert file.read_bytes() == before


def test_a_change_of_the_archive_changes_its_identity(folder, tmp_path, voxels):
    before = open_volume(zipped(folder, tmp_path / "a.ozx")).identity()
    assert open_volume(tmp_path / "a.ozx").identity() == before
    other = write_volume(tmp_path / "b.ome.zarr", voxels + np.uint8(1), voxel_nm=NM)
    assert open_volume(zipped(Path(other.url), tmp_path / "a.ozx")).identity() != before


def test_a_flipped_byte_is_found_by_the_checksum_of_the_archive(folder, tmp_path):
    file = zipped(folder, tmp_path / "a.ozx")
    with zipfile.ZipFile(file) as archive:
        [entry] = [i for i in archive.infolist() if i.filename == "0/c/0/0/0"]
    data = bytearray(file.read_bytes())
    data[entry.header_offset + 200] ^= 1
    file.write_bytes(data)
    with pytest.raises(ChunkError, match=r"'0/c/0/0/0' in .*a.ozx is damaged: Bad CRC-32"):
        open_volume(file).read()
    assert any("damaged" in problem for problem in validate(file, deep=True))


def test_a_chunk_that_is_not_in_the_archive_is_missing(folder, tmp_path):
    (folder / "0/c/0/0/0").unlink()
    file = zipped(folder, tmp_path / "a.ozx")
    with pytest.raises(ChunkError, match="is missing"):
        open_volume(file).read()
    assert any("1 of 1 chunks are missing" in problem for problem in validate(file))
    with pytest.raises(InputError, match="not one chunk of"):
        open_volume(file, missing_chunks="fill")


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_a_cut_off_archive_is_refused(folder, tmp_path, keep):
    data = zipped(folder, tmp_path / "a.ozx").read_bytes()
    (tmp_path / "a.ozx").write_bytes(data[: int(keep if keep >= 1 else keep * len(data))])
    with pytest.raises(InputError, match=r"a.ozx is no readable zip file: .*; copy it again"):
        open_volume(tmp_path / "a.ozx")


def test_an_entry_that_grows_absurdly_is_not_unpacked(folder, tmp_path):
    (folder / "0/c/0/0/0").write_bytes(bytes(1 << 25))
    file = zipped(folder, tmp_path / "a.ozx", zipfile.ZIP_DEFLATED)
    with pytest.raises(ChunkError, match=r"would be 33554432 bytes from [0-9]+; not read"):
        open_volume(file).read()


def test_archives_are_not_made(tmp_path, voxels, listing):
    with pytest.raises(OutputError, match=r"choose a name without .ozx or .zip"):
        write_volume(tmp_path / "a.ozx", voxels, voxel_nm=NM)
    assert listing() == []


def test_convert_says_that_an_archive_is_used_as_it_is(folder, tmp_path):
    file = zipped(folder, tmp_path / "a.ozx")
    with pytest.raises(InputError, match=r"a zipped OME-Zarr image \(.ozx, .zip\) is used as it is"):
        open_source(file)
