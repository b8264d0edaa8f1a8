"""Sources as they come: files and folders of slices, masks, several channels, classes that overlap."""

from __future__ import annotations

import json
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import tifffile
from nnunet_referees import referee_labels
from painted import VOXEL_NM, blobs
from painted_images import SMALL, stored
from PIL import Image
from strategies import done

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.ops.train.sources import Given, opened
from chunkflow_liver.store.foreign import Foreign
from chunkflow_liver.training.losses import IGNORE

SHAPE = (20, 48, 48)
WHOLE = Box.of(SHAPE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same image and labels as OME-Zarr, TIFF, slices and HDF5, with masks of overlapping classes."""
    place = tmp_path_factory.mktemp("sources")
    grey, classes = blobs(SHAPE)
    stored(place)
    tifffile.imwrite(place / "grey.tif", grey)
    tifffile.imwrite(place / "labels.tif", classes)
    for name, array in (("slices", grey), ("painted", classes)):
        (place / name).mkdir()
        for z, plane in enumerate(array):
            Image.fromarray(plane).save(place / name / f"{z}.png")
    with h5py.File(place / "both.h5", "w") as file:
        file["volumes/raw"], file["volumes/labels"] = grey, classes
    masks = {"dark": classes == 1, "bright": classes == 2, "any": classes > 0}
    for name, mask in masks.items():
        tifffile.imwrite(place / f"{name}.tif", (255 * mask).astype(np.uint8))
    cf.write_volume(place / "dark.ome.zarr", (classes == 1).astype(np.uint8), voxel_nm=VOXEL_NM, kind="label")
    scores = (200 * (classes == 1)).astype(np.uint8)
    cf.write_volume(place / "scores.ome.zarr", scores, voxel_nm=VOXEL_NM, chunks=(8, 16, 16))
    return place


def one(entry, **more):
    found = opened([Given.of(entry, 0)], more.pop("classes", None), None, flat=False, **more)
    return found.sources[0], found


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("grey.tif", "labels.tif"),
        ("slices", "painted"),
        ("both.h5::volumes/raw", "both.h5::volumes/labels"),
        ("a-raw.ome.zarr", "labels.tif"),
        ("slices", "a-labels.ome.zarr"),
    ],
)
def test_files_are_read_as_they_are(image, labels, folder):
    entry = {"image": f"{folder}/{image}", "labels": f"{folder}/{labels}", "voxel_nm": VOXEL_NM}
    made, _ = one(entry | {"slices": [3, 12]}, classes={"dark": 1, "bright": 2})
    grey, classes = blobs(SHAPE)
    np.testing.assert_array_equal(made.raws[0].read(WHOLE), grey)
    wanted = np.full(SHAPE, IGNORE)
    wanted[[3, 12]] = classes[[3, 12]]
    np.testing.assert_array_equal(made.labels(WHOLE), wanted)
    count = np.sum([counts for _, _, counts in made.index(3)], 0)
    np.testing.assert_array_equal(count, [(wanted == c).sum() for c in range(3)])


def test_a_training_on_files_is_that_on_the_same_voxels_in_zarr(folder, tmp_path):
    classes = blobs(SHAPE)[1]
    about = {"kind": "label", "classes": (("dark", 1), ("bright", 2))}
    # Windows are drawn from tiles no larger than chunks, so these are to be those of the file.
    labels = cf.write_volume(tmp_path / "l.ome.zarr", classes, voxel_nm=VOXEL_NM, chunks=SHAPE, **about)
    weights = []
    for name, entry in {
        "zarr": {"image": f"{folder}/a-raw.ome.zarr", "labels": labels.url},
        "files": {
            "image": f"{folder}/grey.tif",
            "masks": {n: f"{folder}/{n}.tif" for n in ("dark", "bright")},
        }
        | {"voxel_nm": VOXEL_NM},
    }.items():
        output = done(cf.train([entry], name="m", work=tmp_path / name, **SMALL)).settings()
        weights.append(output["history"])
        assert str(folder) not in json.dumps(output)
    for a, b in zip(*weights, strict=True):
        assert {k: v for k, v in a.items() if "seconds" not in k} == {
            k: v for k, v in b.items() if "seconds" not in k
        }


def test_masks_of_zarr_and_files_are_numbered_by_the_order_of_the_classes(folder):
    masks = {"bright": f"{folder}/bright.tif", "dark": f"{folder}/dark.ome.zarr"}
    entry = {"image": f"{folder}/a-raw.ome.zarr", "masks": masks, "voxel_nm": VOXEL_NM}
    classes = blobs(SHAPE)[1]
    made, found = one(entry)
    assert found.names == ("bright", "dark")
    np.testing.assert_array_equal(made.labels(WHOLE), np.array([0, 2, 1])[classes])
    made, found = one(entry, classes=["dark", "bright"])
    np.testing.assert_array_equal(made.labels(WHOLE), classes)


@pytest.mark.parametrize(
    ("chunks", "read", "times"),
    [
        ((1, 1, 1), (20, 48, 48), 1.0),
        # Whole planes of 400 x 400 pixels for 10 x 10 of each.
        ((1, 400, 400), (26, 400, 400), 4 * 400 * 400 / (4 * 10 * 10)),
        ((2, 400, 400), (26, 400, 400), 6 * 400 * 400 / (4 * 10 * 10)),
        ((1, 20_000, 20_000), (1, 2500, 20_000), 4 * 400_000_000 / (4 * 10 * 10)),
    ],
)
def test_what_is_read_at_once_of_a_file(chunks, read, times):
    shape = SHAPE if chunks == (1, 1, 1) else (40, *chunks[1:])
    made = Foreign(SimpleNamespace(shape=shape, chunks=chunks), "x", VOXEL_NM)
    assert made.chunks == read
    window = (4, 10, 10)
    assert made.decoded(window) == pytest.approx(times)


def test_overlapping_masks_need_to_be_wanted(folder):
    masks = {name: f"{folder}/{name}.tif" for name in ("any", "dark")}
    entry = {"image": f"{folder}/a-raw.ome.zarr", "masks": masks, "voxel_nm": VOXEL_NM}
    with pytest.raises(InputError, match=r"masks of 'any' and 'dark' overlap, first at .*'regions: true'"):
        one(entry)[0].labels(WHOLE)
    made, found = one(entry, regions=True)
    classes = blobs(SHAPE)[1]
    np.testing.assert_array_equal(made.labels(WHOLE), (classes > 0) + 2 * (classes == 1))
    assert found.regions == ((1, 3), (2, 3))
    total = np.sum([counts for _, _, counts in made.index(3)], 0)
    np.testing.assert_array_equal(total, [(classes == 0).sum(), (classes > 0).sum(), (classes == 1).sum()])


def test_one_image_tells_overlaps_by_several_numbers_of_a_class(folder):
    entry = {"image": f"{folder}/a-raw.ome.zarr", "labels": f"{folder}/a-labels.ome.zarr"}
    made, found = one(entry, classes={"any": [1, 2], "dark": [1]})
    classes = blobs(SHAPE)[1]
    np.testing.assert_array_equal(made.labels(WHOLE), (classes > 0) + 2 * (classes == 1))
    assert found.regions == ((1, 2), (1,))


@pytest.mark.parametrize("network", ["plain", "unet3d"])
def test_segment_and_nnunet_find_the_same_regions(network, folder, tmp_path):
    entry = {"image": f"{folder}/a-raw.ome.zarr", "labels": f"{folder}/a-labels.ome.zarr"}
    settings = SMALL | {"steps": 40, "epoch": 40, "network": network, "augment": "flips"}
    made = cf.train([entry], name="m", work=tmp_path / "w", classes={"any": [1, 2], "dark": 1}, **settings)
    output = done(made)
    raw = cf.open_volume(entry["image"])
    seg = cf.segment(raw, model=output.model, name="s", work=tmp_path / "s", mirroring=False)
    assert dict(seg.output.classes) == {"any": 2, "dark": 1}
    found = done(seg).read()
    assert len(np.unique(found)) > 1
    history = output.settings()["history"][-1]
    assert min(history["dice_any"], history["dice_dark"]) > 0.1
    if network == "plain":
        dataset = json.loads((output.model / "dataset.json").read_text())
        assert dataset["labels"] == {"background": 0, "any": [1, 2], "dark": [1]}
        assert dataset["regions_class_order"] == [2, 1]
        voxels = raw.read()[None].astype(np.float32)
        wanted = referee_labels(output.model, voxels, spacing=VOXEL_NM, mirroring=False)
        assert (found == wanted).mean() > 0.999


@pytest.mark.parametrize("network", ["plain", "unet3d"])
def test_several_channels_go_through_training_export_and_segment(network, folder, tmp_path):
    """The second channel is the answer: it is learned from that alone, and found with it alone."""
    entry = {
        "image": [f"{folder}/a-raw.ome.zarr", f"{folder}/scores.ome.zarr"],
        "masks": {"dark": f"{folder}/dark.ome.zarr"},
    }
    settings = SMALL | {"steps": 30, "epoch": 30, "network": network}
    output = done(cf.train([entry], name="m", work=tmp_path / "w", **settings))
    assert output.recipe.channels == ("a-raw", "scores")
    raw = [cf.open_volume(path) for path in entry["image"]]
    at = {"model": output.model, "mirroring": False}
    found = done(cf.segment(raw, name="s", work=tmp_path / "s", **at)).read()
    truth = blobs(SHAPE)[1] == 1
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8
    if network == "plain":
        voxels = np.stack([v.read() for v in raw]).astype(np.float32)
        wanted = referee_labels(output.model, voxels, spacing=VOXEL_NM, mirroring=False)
        assert (found == wanted).mean() > 0.999
    with pytest.raises(ConfigError, match=r"trained on 2 channel\(s\) \('a-raw', 'scores'\), got 1"):
        cf.segment(raw[0], name="t", work=tmp_path / "t", **at)


def test_bad_sources_are_refused(folder, tmp_path):
    tifffile.imwrite(tmp_path / "small.tif", np.zeros((20, 48, 40), np.uint8))
    image, labels = f"{folder}/a-raw.ome.zarr", f"{folder}/a-labels.ome.zarr"
    dark = {"dark": f"{folder}/dark.tif"}
    cases = {
        r"needs either 'labels' .* it has none": {"image": image},
        r"needs either 'labels' .* it has both": {"image": image, "labels": labels, "masks": dark},
        r"masks are paths by the name of their class": {"image": image, "masks": {}},
        r"'ignore' and 'instances_of' speak of numbers": {"image": image, "masks": dark, "ignore": 9},
        r"has no image": {"image": [], "labels": labels},
        r"source 0: .*grey.tif does not state a voxel size; give it": {
            "image": f"{folder}/grey.tif",
            "labels": labels,
        },
        r"states voxels of \(40.0, 16.0, 16.0\) nm, not \(40, 8, 8\): leave out": {
            "image": image,
            "labels": labels,
            "voxel_nm": (40, 8, 8),
        },
        r"source 0: .*grey.tif is a file of one volume, of which no channel": {
            "image": f"{folder}/grey.tif",
            "labels": labels,
            "voxel_nm": VOXEL_NM,
            "channel": 1,
        },
        r"channels of source 0 must lie on the same voxels": {
            "image": [image, f"{tmp_path}/small.tif"],
            "labels": labels,
            "voxel_nm": VOXEL_NM,
        },
        r"masks of source 0 \('dark' and 'bright'\) must lie on the same voxels": {
            "image": image,
            "masks": dark | {"bright": f"{tmp_path}/small.tif"},
            "voxel_nm": VOXEL_NM,
        },
        r"along x the image .* is 768 nm long .* and the labels .*small.tif 640 nm": {
            "image": image,
            "labels": f"{tmp_path}/small.tif",
            "voxel_nm": VOXEL_NM,
        },
    }
    for says, entry in cases.items():
        with pytest.raises((ConfigError, InputError), match=says):
            one(entry)
    with_mask = {"image": image, "masks": dark, "voxel_nm": VOXEL_NM}
    with pytest.raises(InputError, match=r"masks of \['dark'\] and none of \['er'\]: what has no mask"):
        one(with_mask, classes=["dark", "er"])
    with pytest.raises(InputError, match=r"has a mask of 'dark', which is not among the classes \['er'\]"):
        opened([Given.of(with_mask | {"masks": dark | {"er": dark["dark"]}}, 0)], ["er"], None, flat=False)
    pair = [Given.of({"image": i, "labels": labels}, n) for n, i in enumerate(([image] * 2, image))]
    with pytest.raises(InputError, match="source 1 has 1 channels and source 0 has 2"):
        opened(pair, None, None, flat=False)
    with pytest.raises(ConfigError, match="which no label image can tell: give masks, or numbers"):
        one({"image": image, "labels": labels}, regions=True)
    with pytest.raises(ConfigError, match="all numbers of the class 'dark' are those of later ones"):
        one({"image": image, "labels": labels}, classes={"dark": 1, "any": [1, 2]})
    with pytest.raises(ConfigError, match=r"loss 'dual_dice' are for classes of which every voxel has one"):
        cf.train(
            [{"image": image, "labels": labels}],
            classes={"any": [1, 2], "dark": 1},
            name="m",
            work=tmp_path / "w",
            **SMALL,
            loss="dual_dice",
        )
