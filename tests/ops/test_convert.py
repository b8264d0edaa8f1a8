"""Foreign stacks become valid OME-Zarr images, in natural order, and go on where they were broken off."""

from __future__ import annotations

import json

import h5py
import mrcfile
import nibabel
import numpy as np
import pytest
import tifffile
from strategies import broken, contents, counted, done

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError, JournalError, OutputError, RunIncompleteError

VOXEL_NM = (40.0, 6.0, 5.0)


@pytest.fixture
def voxels():
    return np.random.default_rng(1).integers(0, 60000, (12, 21, 33), dtype=np.uint16)


@pytest.fixture
def slices(tmp_path, voxels):
    """Slices whose names sort otherwise as text: slice_2 comes before slice_10."""
    folder = tmp_path / "slices"
    folder.mkdir()
    for z, plane in enumerate(voxels):
        tifffile.imwrite(folder / f"slice_{z}.tif", plane)
    (folder / "notes.txt").write_text("not a slice")
    return folder


@pytest.fixture
def one_file(request, tmp_path, voxels):
    kind = request.param
    path = tmp_path / f"stack.{kind}"
    if kind == "tif":
        tifffile.imwrite(path, voxels)
    elif kind in ("nii", "nii.gz"):
        image = nibabel.Nifti1Image(voxels.transpose(2, 1, 0), np.diag([5e-3, 6e-3, 40e-3, 1]))
        image.header.set_xyzt_units("micron")
        nibabel.save(image, path)
    else:
        with mrcfile.new(path) as file:
            file.set_data(voxels)
            file.voxel_size = (50.0, 60.0, 400.0)  # x, y, z in angstrom
    return path


def test_slices_come_in_the_order_of_their_numbers(slices, voxels, tmp_path):
    volume = done(cf.convert(slices, tmp_path / "raw.ome.zarr", voxel_nm=VOXEL_NM))
    opened = cf.open_volume(tmp_path / "raw.ome.zarr")
    np.testing.assert_array_equal(opened.read(), voxels)
    assert (opened.voxel_nm, opened.dtype, volume.name) == (VOXEL_NM, "uint16", "raw")
    assert cf.validate(opened.url, deep=True) == []


@pytest.mark.parametrize("one_file", ["tif", "nii", "nii.gz", "mrc"], indirect=True)
@pytest.mark.parametrize("block", [None, (5, 7, 3)], ids=str)
def test_files_keep_their_voxels_and_sizes(one_file, block, voxels, tmp_path):
    size = VOXEL_NM if one_file.suffix == ".tif" else None
    done(cf.convert(one_file, tmp_path / "raw.ome.zarr", voxel_nm=size, block=block))
    volume = cf.open_volume(tmp_path / "raw.ome.zarr")
    np.testing.assert_array_equal(volume.read(), voxels)
    np.testing.assert_allclose(volume.voxel_nm, VOXEL_NM, rtol=1e-5)
    assert cf.validate(volume.url, deep=True) == []


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_every_ome_version_is_readable(version, slices, voxels, tmp_path):
    import ngff_zarr

    target = tmp_path / "raw.ome.zarr"
    done(cf.convert(slices, target, voxel_nm=VOXEL_NM, ome_version=version))
    assert (target / ("zarr.json" if version == "0.5" else ".zattrs")).exists()
    np.testing.assert_array_equal(cf.open_volume(target).read(), voxels)
    assert cf.validate(target, deep=True) == []
    image = ngff_zarr.from_ngff_zarr(str(target), validate=True, version=version).images[0]
    np.testing.assert_array_equal(np.asarray(image.data), voxels)


def test_labels_keep_their_classes(tmp_path):
    array = np.random.default_rng(2).integers(0, 3, (6, 300, 20), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "labels.tif", array)
    classes = [("er", 1), ("mitochondrion", 2)]
    plan = cf.convert(
        tmp_path / "labels.tif", tmp_path / "l.ome.zarr", voxel_nm=(8, 8, 8), kind="label", classes=classes
    )
    done(plan)
    volume = cf.open_volume(tmp_path / "l.ome.zarr")
    assert (volume.kind, volume.classes, volume.levels) == ("label", tuple(classes), 2)
    np.testing.assert_array_equal(volume.read(), array)
    # Coarser levels take the majority, so no class appears that was not there.
    assert set(np.unique(cf.open_volume(volume.url, level=1).read())) <= {0, 1, 2}
    assert cf.validate(volume.url, deep=True) == []


def test_a_broken_conversion_goes_on_to_the_same_bytes(slices, tmp_path):
    def plan(to):
        return cf.convert(slices, tmp_path / to / "raw.ome.zarr", voxel_nm=VOXEL_NM, block=(4, 21, 33))

    done(plan("whole"))
    with pytest.raises(RunIncompleteError, match="the disk is gone"):
        done(broken(plan("parts"), "raw/convert", 1))
    calls: list[int] = []
    done(counted(plan("parts"), "raw/convert", calls))
    assert calls == [1]
    whole, parts = (contents(tmp_path / to / "raw.ome.zarr") for to in ("whole", "parts"))
    assert whole == parts


def test_a_finished_conversion_is_not_done_again(slices, voxels, tmp_path):
    target = tmp_path / "raw.ome.zarr"
    done(cf.convert(slices, target, voxel_nm=VOXEL_NM))
    before = contents(target)
    calls: list[int] = []
    done(counted(cf.convert(slices, target, voxel_nm=VOXEL_NM), "raw/convert", calls))
    assert calls == []
    assert contents(target) == before
    tifffile.imwrite(slices / "slice_3.tif", voxels[4])
    with pytest.raises(JournalError, match=r"raw.ome.zarr was converted from a source that held other data"):
        done(cf.convert(slices, target, voxel_nm=VOXEL_NM))
    assert contents(target) == before


def test_an_image_or_folder_that_exists_is_not_written_over(slices, tmp_path, listing):
    cf.write_volume(tmp_path / "raw.ome.zarr", np.ones((2, 3, 4), np.uint8), voxel_nm=VOXEL_NM)
    before = listing()
    for name in ("raw.ome.zarr", "slices"):
        with pytest.raises(OutputError, match=f"{name} exists already; choose another name or remove it"):
            cf.convert(slices, tmp_path / name, voxel_nm=VOXEL_NM)
    assert listing() == before


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"voxel_nm": None}, InputError, "does not state a voxel size; give it in nm as --voxel-nm Z Y X"),
        ({"voxel_nm": (40, 0, 6)}, InputError, r"must be three sizes above 0 \(z, y, x\), got \(40, 0, 6\)"),
        ({"voxel_nm": (40, 6)}, InputError, "must be three sizes above 0"),
        ({"ome_version": "0.9"}, ConfigError, r"OME-Zarr '0.9' cannot be written; choose one of \['0.4'"),
        ({"kind": "mask"}, ConfigError, "kind must be 'image' or, with classes, 'label', got 'mask'"),
        ({"classes": [("er", 1)]}, ConfigError, "with classes, 'label', got 'image'"),
        ({"source": "nowhere"}, InputError, "nothing is at .*nowhere; give the path of"),
    ],
    ids=lambda v: next(iter(v.items())) if isinstance(v, dict) else None,
)
def test_what_cannot_be_converted_is_refused(options, error, says, slices, tmp_path, listing):
    before = listing()
    with pytest.raises(error, match=says):
        cf.convert(**{"source": slices, "to": tmp_path / "raw.ome.zarr", "voxel_nm": VOXEL_NM} | options)
    assert listing() == before


def test_one_volume_of_a_container_is_named_after_its_path(slices, voxels, tmp_path):
    with pytest.raises(InputError, match="has no dataset 'x'; leave it out"):
        cf.convert(f"{slices}::x", tmp_path / "raw.ome.zarr", voxel_nm=VOXEL_NM)
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["raw"], file["labels/er"] = voxels, (voxels > 100).astype(np.uint8)
    done(cf.convert(f"{tmp_path / 'all.h5'}::raw", tmp_path / "raw.ome.zarr", voxel_nm=VOXEL_NM))
    np.testing.assert_array_equal(cf.open_volume(tmp_path / "raw.ome.zarr").read(), voxels)
    masks = {"er": f"{tmp_path / 'all.h5'}::labels/er"}
    done(cf.convert(masks, tmp_path / "er.ome.zarr", voxel_nm=VOXEL_NM))
    np.testing.assert_array_equal(cf.open_volume(tmp_path / "er.ome.zarr").read(), voxels > 100)


def test_voxel_sizes_may_be_an_array(slices, tmp_path):
    plan = cf.convert(slices, tmp_path / "raw.ome.zarr", voxel_nm=np.array(VOXEL_NM))
    assert plan.output.voxel_nm == VOXEL_NM


def test_labels_that_are_no_integers_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "scores.tif", np.full((2, 3, 4), 0.5, np.float32), photometric="minisblack")
    plan = cf.convert(tmp_path / "scores.tif", tmp_path / "l.ome.zarr", voxel_nm=VOXEL_NM, kind="label")
    with pytest.raises(RunIncompleteError, match=r"0\.5 at .* = \(0, 0, 0\) is no label.*set a threshold"):
        done(plan)


@pytest.mark.parametrize("ending", ["tif", "nii", "nii.gz"])
def test_what_was_exported_converts_back(ending, slices, voxels, tmp_path):
    volume = done(cf.convert(slices, tmp_path / "raw.ome.zarr", voxel_nm=VOXEL_NM))
    path = cf.export(volume, tmp_path / f"back.{ending}")
    again = done(cf.convert(path, tmp_path / "again.ome.zarr"))
    np.testing.assert_array_equal(cf.open_volume(again.url).read(), voxels)
    np.testing.assert_allclose(again.voxel_nm, VOXEL_NM, rtol=1e-6)
    with pytest.raises(OutputError, match="exists; delete it, or write to another name"):
        cf.export(volume, path)


def test_an_unknown_ending_is_refused(slices, tmp_path, listing):
    volume = cf.write_volume(tmp_path / "v.ome.zarr", np.ones((2, 3, 4), np.uint8), voxel_nm=VOXEL_NM)
    before = listing()
    with pytest.raises(InputError, match=r"cannot export to .*v.png': the name must end in one of"):
        cf.export(volume, tmp_path / "v.png")
    assert listing() == before


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        (
            {},
            {"voxel_nm": (40.0, 6.0, 6.0)},
            r"with the voxel size \(z, y, x\) in nm \[40, 6, 5\], and is asked for with \[40, 6, 6\]",
        ),
        ({}, {"kind": "label"}, "as an image, and is asked for as labels"),
        (
            {"kind": "label", "classes": [("er", 1)]},
            {"kind": "label", "classes": [("mitochondrion", 1)]},
            r"with the classes \[\['er', 1\]\], and is asked for with \[\['mitochondrion', 1\]\]",
        ),
        (
            {},
            {"axes": "yzx"},
            r"with the shape \(z, y, x\) in voxels \[12, 21, 33\], and is asked for with \[21, 12,",
        ),
    ],
    ids=["voxel_nm", "kind", "classes", "axes"],
)
def test_another_conversion_to_the_same_place_is_refused(before, after, named, slices, tmp_path):
    target = tmp_path / "raw.ome.zarr"
    options = {"voxel_nm": VOXEL_NM} | before
    done(cf.convert(slices, target, **options))
    made = contents(target)
    done(cf.convert(slices, target, **options))
    with pytest.raises(JournalError, match=rf"raw.ome.zarr was converted {named}.*: say --redo") as told:
        done(cf.convert(slices, target, **options | after))
    for word in ("plan", "work folder", "outputs", "stage", ".convert"):
        assert word not in str(told.value)
    assert contents(target) == made
    cf.run(cf.convert(slices, target, **options | after), progress=False, redo=True)
    assert contents(target) != made


def test_ids_that_another_program_left_unmarked_become_labels(tmp_path, voxels):
    """The refusal of an image of ids names the command that makes labels of it, and the command works."""
    ids = voxels.astype(np.uint64) << np.uint64(20)
    foreign = cf.write_volume(tmp_path / "ids.ome.zarr", ids, voxel_nm=VOXEL_NM, kind="label")
    metadata = tmp_path / "ids.ome.zarr" / "zarr.json"
    found = json.loads(metadata.read_text())
    del found["attributes"]["ome"]["image-label"]
    metadata.write_text(json.dumps(found))
    with pytest.raises(InputError, match="holds uint64 voxels; an image must be one of") as refused:
        cf.open_volume(foreign.url)
    _, command = str(refused.value).split("make labels of them: chunkflow-liver ")
    words = command.split()
    assert words[0] == "convert"
    assert words[3:] == ["--labels", "--voxel-nm", "40", "6", "5"]
    plan = cf.convert(words[1], tmp_path / "labels.ome.zarr", voxel_nm=VOXEL_NM, kind="label")
    cf.run(plan, progress=False)
    np.testing.assert_array_equal(cf.open_volume(tmp_path / "labels.ome.zarr").read(), ids)
