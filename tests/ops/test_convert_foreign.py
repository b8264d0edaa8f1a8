"""Files that other programs wrote: right, or refused with a way out that works; nothing silently wrong."""

from __future__ import annotations

import numpy as np
import pytest
from places import DATA
from strategies import done

import chunkflow_liver as cf
from chunkflow_liver.errors import InputError, RunIncompleteError

FILES = DATA / "foreign_files"
SIZE = {"voxel_nm": (40.0, 8.0, 8.0)}
LABELS = {"kind": "label"} | SIZE

pytestmark = pytest.mark.skipif(not FILES.exists(), reason="no foreign_files in ../shared/data")

RIGHT = [
    ("imod/mask.mrc", "imod/m.npy", {"kind": "label"}, (40, 8.07, 8.07)),
    ("imod/mask.mrc", "imod/m.npy", {}, (40, 8.07, 8.07)),
    ("imod/raw.mrc", "imod/raw.npy", {}, (40, 8.07, 8.07)),
    ("bdv/s.h5", "bdv/a.npy", {}, (40, 5.9, 5.9)),
    ("bdv/s.xml", "bdv/a.npy", {}, (40, 5.9, 5.9)),
    ("ilastik/xyz.h5", "ilastik/a.npy", SIZE, None),
    ("ilastik/zyxc.h5", "ilastik/a.npy", SIZE, None),
    ("ilastik/tzyxc.h5", "ilastik/a.npy", LABELS, None),
    ("nifti/scaled.nii.gz", "nifti/m.npy", {"kind": "label"}, (40, 8, 8)),
    ("nifti/scaled.nii.gz", "nifti/m.npy", {}, (40, 8, 8)),
    ("nifti/nan.nii", "nifti/l.npy", {}, (40, 8, 8)),
    ("nifti/be.nii", "nifti/l.npy", {}, (40, 8, 8)),
    ("nifti/flip.nii", "nifti/l.npy", {"axes": "zyx"}, (40, 8, 8)),
    ("ometiff/rev.ome.tif", "ometiff/a.npy", {}, (40, 8, 8)),
    ("ometiff/revflat.ome.tif", "ometiff/a.npy", {}, (40, 8, 8)),
    ("ometiff/multi", "ometiff/a.npy", {}, (40, 8, 8)),
    ("ometiff/multi/s_z03.ome.tif", "ometiff/a.npy", {}, (40, 8, 8)),
    ("spatialdata/d.zarr/labels/mitos/0", "spatialdata/s.npy", LABELS, None),
    ("axes/ids.ome.zarr/0", "axes/a.npy", {"kind": "label"}, (40, 5.9, 5.9)),
    ("axes/ids.ome.zarr", "axes/a.npy", {"kind": "label"}, (40, 5.9, 5.9)),
    ("axes/ids.ome.zarr::0", "axes/a.npy", {"kind": "label"}, (40, 5.9, 5.9)),
    ("precomputed/cv", "precomputed/s.npy", {"kind": "label", "allow_gaps": True}, (40, 8, 8)),
    ("precomputed/plain", "precomputed/s.npy", {"kind": "label"}, (40, 8, 8)),
    ("precomputed/tss", "precomputed/r.npy", {}, (40, 8, 8)),
    ("palette/p", "palette/a.npy", LABELS, None),
    ("palette/p", "palette/a.npy", SIZE, None),
    ("palette/t", "palette/a.npy", LABELS, None),
    ("palette/l", "palette/a.npy", LABELS, None),
    ("others/lzf.h5", "others/a.npy", SIZE, None),
    ("others/zstd.tif", "others/a.npy", SIZE, None),
    ("others/j2k.tif", "others/a.npy", SIZE, None),
    ("others/v.nrrd", "others/a.npy", SIZE, None),
    ("others/v.nhdr", "others/a.npy", SIZE, None),
    ("others/v.mha", "others/a.npy", SIZE, None),
    ("others/jp2", "others/a.npy", SIZE, None),
    ("others/bmp", "others/a.npy", SIZE, None),
    ("others/pgm", "others/a.npy", SIZE, None),
]


@pytest.mark.parametrize(("name", "right", "options", "voxel_nm"), RIGHT, ids=lambda v: str(v)[:40])
def test_a_foreign_file_becomes_the_image_that_it_means(name, right, options, voxel_nm, tmp_path):
    plan = cf.convert(str(FILES / name), tmp_path / "v.ome.zarr", **options)
    volume = cf.open_volume(done(plan).url)
    expected = np.load(FILES / right)
    if name.startswith("axes/"):
        expected = expected[0].T  # stored as c, x, y, z
    np.testing.assert_array_equal(volume.read(), expected)
    np.testing.assert_allclose(volume.voxel_nm, voxel_nm or SIZE["voxel_nm"], rtol=1e-6)


def test_bytes_of_an_old_program_are_unsigned(tmp_path):
    volume = cf.open_volume(done(cf.convert(FILES / "imod/old.mrc", tmp_path / "v.ome.zarr")).url)
    assert (volume.dtype, volume.read().min(), volume.read().max()) == ("uint8", 0, 255)


def test_a_turned_nifti_lies_as_its_affine_says(tmp_path):
    import nibabel

    canonical = nibabel.as_closest_canonical(nibabel.load(FILES / "nifti/flip.nii"))
    volume = cf.open_volume(done(cf.convert(FILES / "nifti/flip.nii", tmp_path / "v.ome.zarr")).url)
    np.testing.assert_array_equal(volume.read(), np.asarray(canonical.dataobj).T)
    np.testing.assert_allclose(volume.voxel_nm, (8, 8, 40), rtol=1e-6)
    lowest = np.array(canonical.affine[:3, 3])[::-1] * 1e6  # mm
    np.testing.assert_allclose(volume.origin_nm, lowest, rtol=1e-6)


def test_where_a_precomputed_volume_lies_is_kept(tmp_path):
    volume = done(cf.convert(FILES / "precomputed/tss", tmp_path / "v.ome.zarr"))
    assert cf.open_volume(volume.url).origin_nm == (30 * 40.0, 200 * 8.0, 100 * 8.0)
    resized = done(cf.convert(FILES / "precomputed/tss", tmp_path / "w.ome.zarr", voxel_nm=(50, 4, 4)))
    assert cf.open_volume(resized.url).origin_nm == (30 * 50.0, 200 * 4.0, 100 * 4.0)


def test_filters_of_hdf5plugin_are_read_where_it_is(tmp_path):
    pytest.importorskip("hdf5plugin")
    volume = done(cf.convert(FILES / "others/blosc.h5", tmp_path / "v.ome.zarr", **SIZE))
    np.testing.assert_array_equal(volume.read(), np.load(FILES / "others/a.npy") // 64 * 64)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("ometiff/gap.ome.tif", {}, r"6 slices, but 3 \(from 0\) are in no page.*--allow-gaps"),
        ("axes/ids.ome.zarr/0", {}, r"holds uint64 voxels.*say kind='label' \(--labels\)"),
        ("others/v.mrcz", SIZE, r"whether they are signed.*mrcz\.readMRC.*numpy\.save"),
        ("others/webp", SIZE, "colour or alpha .* save it as greyscale PNG, as WebP has no grey values"),
        ("others/rgb.tif", SIZE, "3 values per pixel .* save it as grey values"),
    ],
)
def test_what_is_not_read_is_refused_with_a_way_out(name, options, says, tmp_path):
    with pytest.raises(InputError, match=says):
        cf.convert(FILES / name, tmp_path / "v.ome.zarr", **options)


def test_chunks_left_out_are_an_error_that_says_how_to_take_them(tmp_path):
    with pytest.raises(RunIncompleteError, match=r"is missing.*--allow-gaps"):
        done(cf.convert(FILES / "precomputed/cv", tmp_path / "v.ome.zarr", kind="label"))
