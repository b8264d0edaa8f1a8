"""Stored numbers become the values that the file means, and axes lie as it says."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import tifffile
from foreign_files import SHAPE, VOXEL_NM, mrc, slices, tiff, volume, zarr2
from hypothesis import given
from hypothesis import strategies as st

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.sources import combined, open_source, whole_numbers
from chunkflow_liver.store.sources.axes_and_values import Values

h5py = pytest.importorskip("h5py")
mrcfile = pytest.importorskip("mrcfile")
nibabel = pytest.importorskip("nibabel")

WHOLE = Box.of(SHAPE)


def imod(path: Path, array: np.ndarray[Any, Any], stamp: tuple[int, int] | None, ends: Any = None) -> Path:
    mrc(path, array)
    raw = bytearray(path.read_bytes())
    if stamp:
        raw[152:160] = struct.pack("<2i", *stamp)
    if ends:
        raw[76:84] = struct.pack("<2f", *ends)
    path.write_bytes(bytes(raw))
    return path


@pytest.mark.parametrize(
    ("stamp", "ends", "dtype", "shift"),
    [
        ((1146047817, 1), None, "uint8", 128),
        ((1146047817, 0), None, "uint8", None),
        (None, (0, 255), "uint8", None),
        (None, (0, 200), "uint8", None),
        (None, (-128, 127), "int8", 0),
        (None, (0, -1), "int8", 0),  # what writers put who know no range
    ],
)
def test_bytes_of_mrc_are_signed_as_imod_decides(stamp, ends, dtype, shift, tmp_path):
    stored = volume("int8")
    source = open_source(imod(tmp_path / "a.mrc", stored, stamp, ends))
    expected = stored.view("uint8") if shift is None else stored.astype(int) + shift
    assert source.dtype == dtype
    np.testing.assert_array_equal(source.read(WHOLE), expected)
    kept = open_source(tmp_path / "a.mrc", stored_values=True)
    np.testing.assert_array_equal(kept.read(WHOLE).view("int8"), stored)


def test_a_mask_of_imods_signed_bytes_is_0_and_1(tmp_path):
    mask = (volume("uint8") > 99).astype("int8")
    source = open_source(imod(tmp_path / "a.mrc", mask ^ -128, (1146047817, 1)))
    np.testing.assert_array_equal(combined({"er": source}, first_wins=False).read(WHOLE), mask)


@pytest.mark.parametrize(("cf", "c0", "c1"), [(0, -32768, 1), (0, 0, 0.5), (0, 5, -1)])
@pytest.mark.parametrize("folder", [False, True])
def test_imagejs_straight_calibration_is_applied(cf, c0, c1, folder, tmp_path):
    array = volume()
    more = {"cf": cf, "c0": c0, "c1": c1}
    if folder:
        (tmp_path / "s").mkdir()
        for z, plane in enumerate(array):
            tifffile.imwrite(tmp_path / f"s/s{z}.tif", plane, imagej=True, metadata=more)
    else:
        tifffile.imwrite(tmp_path / "s", array, imagej=True, metadata={"axes": "ZYX", **more})
    source = pickle.loads(pickle.dumps(open_source(tmp_path / "s")))
    assert source.dtype == {-32768: "int16", 0: "float32", 5: "int32"}[c0]
    np.testing.assert_array_equal(source.read(WHOLE), array * np.float64(c1) + c0)
    plain = open_source(tmp_path / "s", stored_values=True)
    np.testing.assert_array_equal(plain.read(WHOLE), array)
    assert plain.identity() != source.identity()


def test_a_curved_calibration_is_refused_and_the_stored_numbers_are_there(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", volume(), imagej=True, metadata={"axes": "ZYX", "cf": 21})
    with pytest.raises(InputError, match=r"no straight line \(function 21\).*--stored-values"):
        open_source(tmp_path / "a.tif")
    got = open_source(tmp_path / "a.tif", stored_values=True).read(WHOLE)
    np.testing.assert_array_equal(got, volume())


@pytest.mark.parametrize("dtype", ["int16", "uint16"])
def test_big_data_viewers_numbers_are_unsigned_and_its_finest_level_is_taken(dtype, tmp_path):
    array = volume("uint16")
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["s00/resolutions"] = [[1.0, 1, 1], [2, 2, 1]]
        file["s00/subdivisions"] = [[16, 16, 16]] * 2
        file["t00000/s00/0/cells"] = array.view(dtype)
        file["t00000/s00/1/cells"] = array[:, ::2, ::2].copy().view(dtype)
    size = "<unit>um</unit><size>0.0059 0.0059 0.04</size>"
    (tmp_path / "s.xml").write_text(
        '<SpimData version="0.2"><SequenceDescription><ImageLoader format="bdv.hdf5"><hdf5 type="relative">'
        "s.h5</hdf5></ImageLoader><ViewSetups><ViewSetup><id>0</id>"
        f"<voxelSize>{size}</voxelSize></ViewSetup></ViewSetups></SequenceDescription></SpimData>"
    )
    for name in ("s.h5", "s.xml"):
        source = open_source(tmp_path / name)
        assert source.voxel_nm == VOXEL_NM
        np.testing.assert_array_equal(source.read(WHOLE), array)
    half = open_source(tmp_path / "s.h5", dataset="t00000/s00/1/cells")
    assert (half.voxel_nm, half.origin) == ((40.0, 11.8, 11.8), (0.0, 0.25, 0.25))


def test_scale_offset_and_unsigned_by_the_cf_conventions(tmp_path):
    array = volume("int16")
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file["v"] = array
        file["v"].attrs["_Unsigned"], file["v"].attrs["add_offset"] = "true", 10
    expected = array.view("uint16").astype(int) + 10
    np.testing.assert_array_equal(open_source(tmp_path / "a.nc").read(WHOLE), expected)
    path = zarr2(tmp_path / "a.zarr", array)
    (path / ".zattrs").write_text('{"scale_factor": 0.25, "add_offset": -1}')
    np.testing.assert_array_equal(open_source(path).read(WHOLE), array * 0.25 - 1)


@given(
    scale=st.sampled_from([1, 2, -1, -3, 257]),
    offset=st.integers(-(2**20), 2**20),
    stored=st.sampled_from(["uint8", "int8", "uint16", "int16", "int32"]),
)
def test_whole_scales_are_exact_in_the_smallest_type(scale, offset, stored):
    values = Values(scale, offset)
    array = np.array([np.iinfo(stored).min, -1 if stored[0] == "i" else 1, np.iinfo(stored).max], stored)
    dtype = values.dtype(stored)
    expected = [int(v) * scale + offset for v in array]
    assert values.of(array, dtype).tolist() == expected
    low, high = min(expected), max(expected)
    known = [np.dtype(f"{sign}{n}") for sign in "iu" for n in (1, 2, 4, 8)]
    fits = [t for t in known if np.iinfo(t).min <= low and high <= np.iinfo(t).max]
    assert np.dtype(dtype).itemsize == min(t.itemsize for t in fits)


def test_a_scale_that_no_type_holds_is_refused():
    for values, dtype in ((Values(0.0), "uint8"), (Values(float("nan")), "uint8"), (Values(4), "uint64")):
        with pytest.raises(InputError, match="values"):
            values.dtype(dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_whole_numbers_in_floats_are_labels(dtype, tmp_path):
    ids = volume("uint8")
    source = whole_numbers(open_source(tiff(tmp_path / "a.tif", ids.astype(dtype)), labels=True))
    assert np.dtype(source.dtype).kind == "u"
    np.testing.assert_array_equal(source.read(WHOLE), ids)
    for wrong in (
        0.5,
        -1,
        float("nan"),
        float("inf"),
        2.0 ** {"float16": 12, "float32": 25, "float64": 54}[dtype],
    ):
        floats = ids.astype(dtype)
        floats[2, 3, 4] = wrong
        other = whole_numbers(open_source(tiff(tmp_path / "b.tif", floats), labels=True))
        with pytest.raises(InputError, match=r"at \(z, y, x\) = \(2, 3, 4\) is no label"):
            other.read(Box((1, 1, 1), SHAPE))


def test_the_advice_for_a_negative_label_is_one_that_helps(tmp_path):
    """Taken as stored they would be negative still, unless it is the file's offset that makes them so."""
    path = tiff(tmp_path / "a.tif", np.full(SHAPE, -1, np.float32))
    with pytest.raises(InputError) as told:
        whole_numbers(open_source(path, labels=True)).read(WHOLE)
    assert str(told.value) == (
        "-1.0 at (z, y, x) = (0, 0, 0) is no label: labels count from 1 and 0 is background; store it "
        "anew with 0 where nothing is labelled"
    )
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, "uint8").T, np.eye(4)), tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[112:120] = struct.pack("<2f", 0.5, -1)
    (tmp_path / "a.nii").write_bytes(bytes(raw))
    with pytest.raises(InputError, match=r"labels count from 1 .*or sign .* is not meant.*--stored-values"):
        whole_numbers(open_source(tmp_path / "a.nii", labels=True)).read(WHOLE)
    source = whole_numbers(open_source(tmp_path / "a.nii", labels=True, stored_values=True))
    assert not source.read(WHOLE).any()


@pytest.mark.parametrize(("slope", "whole"), [(1 / 255, True), (2.0, True), (0.3, False)])
def test_a_scaled_mask_is_whole_or_refused(slope, whole, tmp_path):
    stored = (volume("uint8") > 99).astype("uint8") * 255
    nibabel.save(nibabel.Nifti1Image(stored.T, np.eye(4)), tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[112:120] = struct.pack("<2f", slope, 0)
    (tmp_path / "a.nii").write_bytes(bytes(raw))
    source = whole_numbers(open_source(tmp_path / "a.nii", labels=True))
    if not whole:
        with pytest.raises(InputError, match=r"76.5 at .* is no label.*--stored-values"):
            source.read(WHOLE)
        source = whole_numbers(open_source(tmp_path / "a.nii", labels=True, stored_values=True))
        slope = 1.0
    np.testing.assert_array_equal(source.read(WHOLE), np.rint(stored * slope))


def placed(path: Path, array: np.ndarray[Any, Any], affine: Any, unit: str = "micron") -> Path:
    """A NIfTI file whose stored array is `array`, x first."""
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units(unit)
    image.to_filename(path)
    return path


def test_an_image_and_a_mask_of_one_space_meet_however_they_are_stored(tmp_path):
    array = volume()
    one = np.diag([0.005, 0.006, 0.04, 1.0])
    one[:3, 3] = 1.0, 2.0, 3.0
    image = open_source(placed(tmp_path / "a.nii", array.T, one))
    # the same voxels: z first and rising, x last and falling
    other = np.zeros((4, 4))
    other[2, 0], other[1, 1], other[0, 2] = 0.04, 0.006, -0.005
    other[:, 3] = 1.0 + 0.005 * (SHAPE[2] - 1), 2.0, 3.0, 1.0
    mask = open_source(placed(tmp_path / "b.nii", (array > 30000)[:, :, ::-1].astype("uint8"), other))
    assert (mask.shape, mask.voxel_nm) == (SHAPE, (40.0, 6.0, 5.0)) == (image.shape, image.voxel_nm)
    assert mask.origin == pytest.approx(image.origin)
    box = Box((1, 2, 3), (4, 9, 13))
    np.testing.assert_array_equal(mask.read(box), image.read(box) > 30000)


def test_an_oblique_affine_is_refused_and_its_voxels_are_there_as_stored(tmp_path):
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn * 0.008
    path = placed(tmp_path / "a.nii", volume().T, affine)
    with pytest.raises(InputError, match=r"a\.nii is oblique: .*resample.*--axes zyx"):
        open_source(path)
    source = open_source(path, axes="zyx")
    assert (source.voxel_nm, source.origin) == ((8.0, 8.0, 8.0), (0.0, 0.0, 0.0))
    np.testing.assert_array_equal(source.read(WHOLE), volume())


def test_a_nifti_that_says_nothing_of_its_place_is_as_stored(tmp_path):
    image = nibabel.Nifti1Image(volume().T, None)
    image.header["pixdim"][1:4] = 0.005, 0.006, 0.04
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii")
    source = open_source(tmp_path / "a.nii")
    np.testing.assert_array_equal(source.read(WHOLE), volume())
    assert (source.voxel_nm, source.origin) == ((40.0, 6.0, 5.0), (0.0, 0.0, 0.0))


def test_the_axis_map_of_mrc_is_applied(tmp_path):
    array = volume()
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(np.ascontiguousarray(array.transpose(2, 0, 1)))  # sections x, rows z, columns y
        file.set_volume()
        file.header.maps, file.header.mapr, file.header.mapc = 1, 3, 2
        file.header.mx, file.header.my, file.header.mz = SHAPE[::-1]
        file.header.cella = tuple(10 * v * n for v, n in zip((5, 6, 40), SHAPE[::-1], strict=True))
    source = open_source(tmp_path / "a.mrc")
    assert (source.shape, source.voxel_nm, source.chunks) == (SHAPE, (40.0, 6.0, 5.0), (5, 12, 1))
    np.testing.assert_array_equal(source.read(WHOLE), array)
    as_stored = open_source(tmp_path / "a.mrc", axes="zyx")
    assert as_stored.shape == (SHAPE[2], SHAPE[0], SHAPE[1])
    assert as_stored.voxel_nm == (5.0, 40.0, 6.0)


def test_axes_that_do_not_fit_are_refused(tmp_path):
    path = tiff(tmp_path / "a.tif", volume())
    for axes in ("zy", "zyq", "zyyx", "xx"):
        with pytest.raises(InputError, match=rf"axes={axes!r} \(--axes\) does not fit"):
            open_source(path, axes=axes)
    np.testing.assert_array_equal(
        open_source(path, axes="xzy").read(Box.of((12, 14, 5))), volume().transpose(1, 2, 0)
    )


def test_indices_of_a_palette_are_the_values_and_tables_must_agree(tmp_path):
    from PIL import Image

    folder = tmp_path / "s"
    folder.mkdir()
    ids = (volume("uint8") % 3).astype("uint8")
    for z, plane in enumerate(ids):
        image = Image.fromarray(plane, "L").convert("P")
        image.putdata(plane.ravel().tolist())
        image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
        image.save(folder / f"{z}.png")
    np.testing.assert_array_equal(open_source(folder).read(WHOLE), ids)
    grey = tmp_path / "grey"
    grey.mkdir()
    for z, plane in enumerate(ids):
        image = Image.fromarray(plane, "L").convert("P")
        image.putdata(plane.ravel().tolist())
        image.putpalette([0, 0, 0, 90, 90, 90, 255, 255, 255])
        image.save(grey / f"{z}.png")
    np.testing.assert_array_equal(open_source(grey).read(WHOLE), np.array([0, 90, 255])[ids])
    np.testing.assert_array_equal(open_source(grey, labels=True).read(WHOLE), ids)


def test_slices_of_other_calibrations_are_named(tmp_path):
    folder = slices(tmp_path / "s", volume())
    tifffile.imwrite(
        folder / "slice_3.tif", volume()[3], imagej=True, metadata={"cf": 0, "c0": -32768, "c1": 1}
    )
    with pytest.raises(InputError, match=r"slice_3\.tif is 12 x 14 uint16, calibrated"):
        open_source(folder)


def test_the_thickness_of_an_image_stack_is_not_taken_from_its_cell(tmp_path):
    """mrcfile 1.5.4: set_image_stack() after the size makes 3 sections of 40 nm one of 120 nm."""
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(np.zeros((3, 4, 8), np.int16))
        file.voxel_size = (59, 59, 400)
        file.set_image_stack()
    assert open_source(tmp_path / "a.mrc").voxel_nm is None


def test_n5_that_says_how_many_threads_packed_it_is_read(tmp_path):
    """tensorstore 0.1.86 refuses the member 'nthreads', which z5py 3.0 writes beside Blosc's settings."""
    voxels = np.arange(96, dtype=">i2").reshape(3, 4, 8)
    folder = tmp_path / "a.n5"
    (folder / "0/0").mkdir(parents=True)
    packing = {"type": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0, "nthreads": 2}
    told = {"dimensions": [8, 4, 3], "blockSize": [8, 4, 3], "dataType": "int16", "compression": packing}
    (folder / "attributes.json").write_text(json.dumps(told))
    block = struct.pack(">HHIII", 0, 3, 8, 4, 3) + numcodecs.Blosc("lz4", 5, 1).encode(voxels.tobytes())
    (folder / "0/0/0").write_bytes(block)
    source = open_source(folder)
    np.testing.assert_array_equal(source.read(Box.of((3, 4, 8))), voxels)


def test_labels_as_jpeg_2000_of_32_bits_are_refused(tmp_path):
    """imagecodecs 2026.3 with OpenJPEG 2.5.4 gives 1 for 0 in a flat image of uint32."""
    options = {"compression": "jpeg2000", "compressionargs": {"level": 0, "reversible": True}}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 64), np.uint32), **options)
    with pytest.raises(InputError, match="as JPEG 2000, which the decoder does not give back"):
        open_source(tmp_path / "a.tif")
