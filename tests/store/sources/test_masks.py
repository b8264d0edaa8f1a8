"""Masks of several classes become one label image, whatever the blocks; overlaps only on request."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from strategies import broken, command, contents, counted, done

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError, RunIncompleteError
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.sources.masks import Masks, combined

itk = pytest.importorskip("SimpleITK")
nibabel = pytest.importorskip("nibabel")

VOXEL_NM = (4.0, 8.0, 16.0)
SHAPE = (6, 20, 33)
SIDES = (5, 7, 9)
MITO, ER = (1, 1, slice(1, 4)), (3, 5, slice(5, 8))
ONE = np.ones((2, 3, 4), np.uint8)


class Array:
    """A source that is an array."""

    chunks = (1, 1, 1)

    def __init__(self, array, voxel_nm=None, origin=None, frame="", turned=False):
        self.array, self.voxel_nm, self.turned = array, voxel_nm, turned
        self.origin, self.frame = origin or (0.0, 0.0, 0.0), None if origin is None else frame
        self.shape, self.dtype = array.shape, array.dtype.name

    def read(self, box):
        return self.array[box.slices]

    def identity(self):
        return str(self.array.sum())


@pytest.fixture
def masks(tmp_path):
    """Files with masks of two classes that do not overlap, 0 and 255, and the class numbers."""
    numbers = np.random.default_rng(3).integers(0, 3, SHAPE).astype(np.uint8)
    for i, name in enumerate(("mitochondrion", "er"), 1):
        tifffile.imwrite(tmp_path / f"{name}.tif", ((numbers == i) * 255).astype(np.uint8))
    return {name: tmp_path / f"{name}.tif" for name in ("mitochondrion", "er")}, numbers


@pytest.mark.parametrize("block", [None, (5, 7, 3)], ids=str)
def test_masks_become_one_label_image(block, masks, tmp_path):
    files, numbers = masks
    done(cf.convert(files, tmp_path / "c.ome.zarr", voxel_nm=VOXEL_NM, block=block))
    volume = cf.open_volume(tmp_path / "c.ome.zarr")
    assert (volume.kind, volume.dtype, volume.voxel_nm) == ("label", "uint8", VOXEL_NM)
    assert dict(volume.classes) == {"mitochondrion": 1, "er": 2}
    np.testing.assert_array_equal(volume.read(), numbers)
    assert cf.validate(volume.url, deep=True) == []


def test_a_command_makes_classes_of_masks(masks, tmp_path):
    files, numbers = masks
    classes = [text for name, path in files.items() for text in ("--class", f"{name}={path}")]
    image = tmp_path / "c.ome.zarr"
    code, said, _ = command("convert", image, *classes, "--voxel-nm", *VOXEL_NM)
    assert (code, said) == (0, f"{image}\n")
    np.testing.assert_array_equal(cf.open_volume(image).read(), numbers)


def test_a_class_that_no_voxel_has_is_told(masks, tmp_path):
    _, numbers = masks
    one = tmp_path / "one.tif"
    tifffile.imwrite(one, (numbers == 2).astype(np.uint8))
    call = ("--voxel-nm", *VOXEL_NM, "--class")
    code, said, told = command("convert", one, tmp_path / "a.ome.zarr", *call, "mito=255")
    assert (code, said.strip()) == (0, str(tmp_path / "a.ome.zarr"))
    assert "warning: no voxel is of ['mito']; the numbers of the image are [1]" in told
    code, _, told = command("convert", one, tmp_path / "b.ome.zarr", *call, "mito=1")
    assert (code, "warning" in told) == (0, False)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_box_of_overlapping_masks_is_that_of_the_whole(data):
    """The first mask that is not 0 says the class; the box that is read does not matter."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    arrays = [random.integers(0, 3, (3, 5, 4)).astype(t) for t in (np.uint8, bool, np.int32)]
    start = [data.draw(st.integers(0, n - 1)) for n in arrays[0].shape]
    stop = [data.draw(st.integers(a + 1, n)) for a, n in zip(start, arrays[0].shape, strict=True)]
    whole = np.select([a != 0 for a in arrays], [1, 2, 3], 0)
    found = combined({str(i): Array(a) for i, a in enumerate(arrays)}, first_wins=True)
    box = Box(tuple(start), tuple(stop))
    np.testing.assert_array_equal(found.read(box), whole[box.slices])
    assert found.read(box).dtype == found.dtype == "uint8"


def test_masks_that_overlap_are_refused_until_asked_for(masks, tmp_path):
    files, numbers = masks
    tifffile.imwrite(files["er"], np.where(numbers == 1, 255, (numbers == 2) * 255).astype(np.uint8))
    first = tuple(int(i) for i in np.argwhere(numbers == 1)[0])
    classes = [text for name, path in files.items() for text in ("--class", f"{name}={path}")]
    call = ("convert", tmp_path / "c.ome.zarr", *classes, "--voxel-nm", *VOXEL_NM)
    code, _, told = command(*call)
    assert code == 6
    assert "the masks of 'mitochondrion' and 'er' overlap, first at (z, y, x) = " + str(first) in told
    # Said once: the same voxels overlap at every further try.
    assert told.count("overlap, first at") == 1
    assert "trying again" not in told
    code, _, told = command(*call, "--allow-overlaps", "--redo")
    assert code == 0, told
    np.testing.assert_array_equal(cf.open_volume(tmp_path / "c.ome.zarr").read(), numbers)


def test_a_broken_conversion_of_masks_goes_on_to_the_same_bytes(masks, tmp_path):
    def plan(to):
        return cf.convert(masks[0], tmp_path / to / "c.ome.zarr", voxel_nm=VOXEL_NM, block=(2, 20, 33))

    done(plan("whole"))
    with pytest.raises(RunIncompleteError, match="the disk is gone"):
        done(broken(plan("parts"), "c/convert", 1))
    calls: list[int] = []
    done(counted(plan("parts"), "c/convert", calls))
    assert calls == [1]
    assert contents(tmp_path / "whole/c.ome.zarr") == contents(tmp_path / "parts/c.ome.zarr")


def test_more_than_255_classes_need_two_bytes():
    one = Array(np.ones((1, 1, 1), bool))
    names = tuple(map(str, range(256)))
    assert Masks(names[:255], (one,) * 255).dtype == "uint8"
    assert Masks(names, (one,) * 256).dtype == "uint16"


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (Array(np.zeros((2, 3, 5), np.uint8)), r"'a' has \(2, 3, 4\), 'b' \(2, 3, 5\)"),
        (
            Array(np.zeros((2, 3, 4), np.uint8), (4.0, 8.0, 8.0)),
            r"'a' has \(4.0, 8.0, 16.0\) nm, 'b' \(4.0, 8.0, 8.0\) nm",
        ),
    ],
    ids=["shape", "voxel size"],
)
def test_masks_that_do_not_fit_are_refused(second, says):
    with pytest.raises(InputError, match=says):
        combined({"a": Array(np.zeros((2, 3, 4), np.uint8), VOXEL_NM), "b": second}, first_wins=False)


def test_masks_have_names_and_no_other_numbers(masks, tmp_path, listing):
    before = listing()
    for source, classes in (({}, ()), (masks[0], [("er", 2)])):
        with pytest.raises(ConfigError, match="masks need names, and have their numbers by their order"):
            cf.convert(source, tmp_path / "c.ome.zarr", voxel_nm=VOXEL_NM, classes=classes)
    file = masks[0]["er"]
    for arguments, says in (
        ((tmp_path / "c.ome.zarr",), "convert makes one image TO of one SOURCE"),
        ((file, file, tmp_path / "c.ome.zarr"), "convert makes one image TO of one SOURCE"),
        ((tmp_path / "c.ome.zarr", "--class", f"a={file}", "--class", f"a={file}"), "the same class"),
        ((tmp_path / "c.ome.zarr", "--class", "a=1"), "nothing is at"),
    ):
        code, _, told = command("convert", *arguments, "--voxel-nm", *VOXEL_NM)
        assert code == 2
        assert says in told
    assert listing() == before


def mask(where):
    array = np.zeros(SIDES, np.uint8)
    array[where] = 1
    return array


def written(path, array, origin=(0.0, 0.0, 0.0)):
    """A mask as ITK writes it, by the ending of its name; its place along (x, y, z) in mm."""
    if path.suffix == ".tif":
        tifffile.imwrite(path, array)
        return path
    image = itk.GetImageFromArray(array)
    image.SetSpacing((0.008, 0.008, 0.04))
    image.SetOrigin(origin)
    itk.WriteImage(image, str(path))
    return path


def numbers(tmp_path, files, **how):
    done(cf.convert(files, tmp_path / "c.ome.zarr", voxel_nm=(40, 8, 8), **how))
    return cf.open_volume(tmp_path / "c.ome.zarr").read()


@pytest.mark.parametrize(
    "pair", [(".nii.gz", ".nii"), (".nrrd", ".mha"), (".nrrd", ".tif"), (".mha", ".tif")]
)
def test_masks_of_one_image_lie_where_they_lay(pair, tmp_path):
    files = {
        "mito": written(tmp_path / f"a{pair[0]}", mask(MITO)),
        "er": written(tmp_path / f"b{pair[1]}", mask(ER)),
    }
    found = numbers(tmp_path, files)
    # NIfTI of ITK says that x and y fall
    turn = np.s_[:, ::-1, ::-1] if ".nii" in pair else np.s_[:]
    np.testing.assert_array_equal(found, (mask(MITO) + 2 * mask(ER))[turn])


# The volume is centred, so that its place is the same in either space.
@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), (-0.032, -0.024, -0.08)], ids=["corner", "centre"])
@pytest.mark.parametrize("other", [".nrrd", ".mha"])
def test_masks_in_spaces_of_other_directions_are_refused_unless_taken_as_stored(
    other, origin, tmp_path, listing
):
    files = {
        "mito": written(tmp_path / "a.nii.gz", mask(MITO), origin),
        "er": written(tmp_path / f"b{other}", mask(ER), origin),
    }
    before = listing()
    with pytest.raises(InputError, match=r"that of 'mito' is RAS, that of 'er' LPS .*--axes zyx"):
        numbers(tmp_path, files)
    assert listing() == before
    np.testing.assert_array_equal(numbers(tmp_path, files, axes="zyx"), mask(MITO) + 2 * mask(ER))


def test_a_turned_mask_beside_one_that_states_no_place_is_refused(tmp_path):
    files = {"er": written(tmp_path / "b.tif", mask(ER)), "mito": written(tmp_path / "a.nii", mask(MITO))}
    with pytest.raises(
        InputError, match=r"'mito' says that its voxels lie turned .* 'er' does not .*--axes zyx"
    ):
        numbers(tmp_path, files)
    np.testing.assert_array_equal(numbers(tmp_path, files, axes="zyx"), mask(ER) + 2 * mask(MITO))


def test_a_nifti_without_a_place_fits_any_mask_that_is_not_turned(tmp_path):
    image = nibabel.Nifti1Image(mask(MITO).T, None)
    image.header["qform_code"] = image.header["sform_code"] = 0
    nibabel.save(image, tmp_path / "a.nii")
    files = {"mito": tmp_path / "a.nii", "er": written(tmp_path / "b.mha", mask(ER), (0.8, 0.0, 0.0))}
    np.testing.assert_array_equal(numbers(tmp_path, files), mask(MITO) + 2 * mask(ER))
    assert cf.open_volume(tmp_path / "c.ome.zarr").origin_nm == (0.0, 0.0, 800.0)


@pytest.mark.parametrize("shift", [0.4, 0.6, -0.4, -0.6, 1.0])
@pytest.mark.parametrize("axis", range(3))
def test_places_may_differ_by_half_a_voxel_and_0_is_a_place(shift, axis):
    moved = tuple(shift if i == axis else 0.0 for i in range(3))
    for first, second in (((0.0, 0.0, 0.0), moved), (moved, (0.0, 0.0, 0.0))):
        masks = {"a": Array(ONE, origin=first), "b": Array(ONE, origin=second)}
        if abs(shift) < 0.5:
            assert combined(masks, first_wins=True).origin == first
            continue
        with pytest.raises(InputError, match=r"masks differ in place: 'a' begins at .*--axes zyx"):
            combined(masks, first_wins=True)


def test_a_mask_that_states_no_place_takes_that_of_the_others():
    masks = {"a": Array(ONE), "b": Array(ONE, origin=(0.0, 5.0, 7.0), frame="RAS")}
    found = combined(masks, first_wins=True)
    assert (found.origin, found.frame, found.turned) == ((0.0, 5.0, 7.0), "RAS", False)


@pytest.mark.parametrize("block", [None, (1, 7, 9)], ids=str)
@pytest.mark.parametrize("second", [(1, 3, 3), (4, 6, 8)], ids=["one block", "another block"])
def test_a_mask_has_one_value_beside_0(second, block, tmp_path):
    array = mask(MITO) * 255
    array[second] = 7
    tifffile.imwrite(tmp_path / "a.tif", array)
    files = {"er": written(tmp_path / "b.tif", mask(ER)), "mito": tmp_path / "a.tif"}
    with pytest.raises(
        InputError, match=r"the mask of 'mito' has several values beside 0, from 7 to 255.*--labels"
    ):
        numbers(tmp_path, files, block=block)


@pytest.mark.parametrize("name", ["folder", "a.jpg", "a.tif", "precomputed"])
def test_masks_and_labels_in_jpeg_are_refused_and_images_are_not(name, tmp_path):
    yy, xx = np.mgrid[:64, :64]
    disc = (((yy - 32) ** 2 + (xx - 32) ** 2 < 225) * 255).astype(np.uint8)
    path = tmp_path / name
    if name == "a.tif":
        pytest.importorskip("imagecodecs")
        tifffile.imwrite(path, disc, compression="jpeg")
    elif name == "precomputed":
        tensorstore = pytest.importorskip("tensorstore")
        scale = {"size": [64, 64, 1], "encoding": "jpeg", "chunk_size": [64, 64, 1], "resolution": [8, 8, 40]}
        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": str(path)},
            "multiscale_metadata": {"type": "image", "data_type": "uint8", "num_channels": 1},
            "scale_metadata": scale,
        }
        tensorstore.open(spec, create=True).result()[...].write(disc.T[:, :, None, None]).result()
    else:
        path.mkdir() if name == "folder" else None
        Image.fromarray(disc).save(path / "s0.jpg" if name == "folder" else path)
    for source, how in (({"mito": path}, {}), (path, {"kind": "label"})):
        with pytest.raises(
            InputError, match=r"is compressed as JPEG, which changes numbers.* as PNG or TIFF"
        ):
            cf.convert(source, tmp_path / "c.ome.zarr", voxel_nm=(40, 8, 8), **how)
    assert cf.convert(path, tmp_path / "c.ome.zarr", voxel_nm=(40, 8, 8)).output.shape == (1, 64, 64)
