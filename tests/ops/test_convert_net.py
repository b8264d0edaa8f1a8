"""What cannot be right is an error that says so, and the way out that it names works."""

from __future__ import annotations

import numpy as np
import pytest
from foreign_files import hdf5, imagej, mrc, nifti, ome, precomputed, tiff, volume
from strategies import command, done

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.store.foreign import open_foreign
from chunkflow_liver.store.sources import open_source

SIZE = {"voxel_nm": (4.0, 8.0, 16.0)}


@pytest.fixture
def mask():
    return (np.random.default_rng(1).random((6, 20, 33)) > 0.5).astype("uint8")


@pytest.mark.parametrize("value", [0, 7])
@pytest.mark.parametrize("kind", ["image", "label"])
def test_one_value_in_all_voxels_is_an_error(value, kind, tmp_path):
    array = np.full((6, 20, 33), value, "uint8")
    file, to = tiff(tmp_path / "a.tif", array), tmp_path / "v.ome.zarr"
    with pytest.raises(InputError, match=rf"same value in all voxels, {value}: .*--allow-constant"):
        done(cf.convert(file, to, kind=kind, block=(2, 20, 33), **SIZE))
    again = done(cf.convert(file, to, kind=kind, block=(2, 20, 33), allow_constant=True, **SIZE))
    np.testing.assert_array_equal(cf.open_volume(again.url).read(), array)
    assert cf.validate(again.url, deep=True) == []


def test_a_value_that_differs_in_another_block_is_enough(tmp_path):
    array = np.full((6, 20, 33), 9, "uint8")
    array[5] = 8
    done(cf.convert(tiff(tmp_path / "a.tif", array), tmp_path / "v.ome.zarr", block=(2, 20, 33), **SIZE))


def test_a_mask_that_is_nowhere_0_is_an_error(mask, tmp_path):
    file, to = tiff(tmp_path / "a.tif", mask + 1), tmp_path / "v.ome.zarr"
    with pytest.raises(InputError, match=r"is nowhere 0 \(its values are 1 to 2\)"):
        done(cf.convert(file, to, kind="label", **SIZE))
    done(cf.convert(file, to, kind="label", allow_constant=True, **SIZE))
    with pytest.raises(InputError, match="the mask of 'er' has several values beside 0, from 1 to 2"):
        done(cf.convert({"er": file}, tmp_path / "m.ome.zarr", **SIZE))
    full = tiff(tmp_path / "full.tif", mask * 0 + 1)
    with pytest.raises(InputError, match="same value in all voxels, 1"):
        done(cf.convert({"er": full}, tmp_path / "f.ome.zarr", **SIZE))
    done(cf.convert(file, tmp_path / "image.ome.zarr", **SIZE))  # an image need not be 0 anywhere


def test_tissue_of_which_each_voxel_has_a_class_needs_no_0(mask, tmp_path):
    """A fresh user's image of tube, wall and tissue was refused, with advice that spoke of a constant."""
    file, two = tiff(tmp_path / "a.tif", mask + 1), [("tissue", 1), ("tube", 2)]
    made = done(cf.convert(file, tmp_path / "v.ome.zarr", kind="label", classes=two, **SIZE))
    np.testing.assert_array_equal(cf.open_volume(made.url).read(), mask + 1)
    with pytest.raises(InputError, match=r"name each \(--class NAME=1 \.\.\. NAME=2\)"):
        done(cf.convert(file, tmp_path / "w.ome.zarr", kind="label", classes=two[1:], **SIZE))
    inside = {"tissue": tiff(tmp_path / "b.tif", 1 - mask), "tube": tiff(tmp_path / "c.tif", mask)}
    done(cf.convert(inside, tmp_path / "m.ome.zarr", **SIZE))


def test_bytes_that_nobody_marked_as_imods_are_caught(mask, tmp_path):
    """IMOD's signed bytes without its stamp: -128 for 0."""
    file = mrc(tmp_path / "a.mrc", mask.view("int8") ^ -128)
    with pytest.raises(InputError, match=r"is nowhere 0 \(its values are -128 to -127\)"):
        done(cf.convert(file, tmp_path / "v.ome.zarr", kind="label", **SIZE))


def test_ids_may_fill_a_volume(tmp_path):
    ids = np.arange(6 * 20 * 33, dtype="uint16").reshape(6, 20, 33) + 1
    done(cf.convert(tiff(tmp_path / "a.tif", ids), tmp_path / "v.ome.zarr", kind="label", **SIZE))


def test_nothing_but_nan_is_an_error(tmp_path):
    file = tiff(tmp_path / "a.tif", np.full((6, 20, 33), np.nan, "float32"))
    with pytest.raises(InputError, match="same value in all voxels, nan"):
        done(cf.convert(file, tmp_path / "v.ome.zarr", **SIZE))


def test_an_argument_that_is_misspelt_is_refused(mask, tmp_path):
    with pytest.raises(ConfigError, match="no argument 'axis'"):
        cf.convert(tiff(tmp_path / "a.tif", mask), tmp_path / "v.ome.zarr", axis="zyx", **SIZE)


STATED = {
    "nifti": lambda p: nifti(p / "a.nii", ids()),
    "imagej": lambda p: imagej(p / "a.tif", ids()),
    "ome": lambda p: ome(p / "a.ome.tif", ids()),
    "mrc": lambda p: mrc(p / "a.mrc", ids()),
    "hdf5": lambda p: hdf5(p / "a.h5", ids()),
    "precomputed": lambda p: precomputed(p / "a", ids()),
}


def ids():
    return volume("uint16")


@pytest.mark.parametrize("name", STATED)
def test_a_voxel_size_that_contradicts_the_file_wins_and_is_told(name, tmp_path, caplog):
    path = STATED[name](tmp_path)
    stated = open_source(path).voxel_nm
    assert stated is not None
    assert done(cf.convert(path, tmp_path / "a.ome.zarr", voxel_nm=tuple(v * 1.0005 for v in stated)))
    assert "states voxels" not in caplog.text
    given = (stated[0], stated[1] * 2, stated[2])
    code, _, told = command("convert", path, tmp_path / "b.ome.zarr", "--voxel-nm", *given)
    assert code == 0, told
    was, now = (" x ".join(f"{v:g}" for v in nm) for nm in (stated, given))
    assert f"{path} states voxels of {was} nm (z, y, x), and {now} nm are given, which win" in told
    assert cf.open_volume(tmp_path / "b.ome.zarr").voxel_nm == given
    open_foreign(path, given)
    assert f"{path} states voxels of {was} nm" in caplog.text
