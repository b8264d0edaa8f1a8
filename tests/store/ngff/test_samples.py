"""OME-Zarr images of other projects are read, or refused where they are wrong or cannot be followed."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
import zarr

from chunkflow_liver.errors import InputError
from chunkflow_liver.store.images import inspect, open_volume

EXAMPLES = "BioImageTools_ome-zarr-examples/data"
RFC_4 = "fideus-labs_rfc4-validation/conformance/cases"
NEUROGLANCER = "neuroglancer/testdata/datasource/zarr/ome_zarr"
SPEC = "ome_ngff-spec/tests/zarr"
MODELS = "ome-zarr-models-py/tests/data/examples"
YAOZARRS = "yaozarrs/tests/data"
GOOD_SAMPLES = (
    *(f"{EXAMPLES}/valid/image-0{i}.zarr" for i in (1, 2, 3, 4)),
    *(f"{EXAMPLES}/valid/plate-01.zarr/{well}/0" for well in ("A/1", "A/2", "B/1", "B/2")),
    f"{NEUROGLANCER}/simple_0.4",
    f"{NEUROGLANCER}/simple_0.5",
    f"{NEUROGLANCER}/all_0.6/axis_dependent/mapAxis.zarr",
    *(
        f"{NEUROGLANCER}/all_0.6/basic/{kind}.zarr"
        for kind in ("identity", "scale", "translation", "sequenceScaleTranslation")
    ),
    f"{MODELS}/v04/hcs_example.ome.zarr/B/03/0",
    *(f"{MODELS}/v06/stitched_tiles_2d.zarr/tile_{i}" for i in (0, 1)),
    # What is broken there is the plate or another image, not these.
    *(
        f"{YAOZARRS}/broken/broken_v05.ome.zarr/{place}"
        for place in (
            "A/1/1",
            "A/2/0",
            "A/2/1",
            "A/3/0",
            "A/3/1",
            "B/1/1",
            "B/2/1",
            "B/3/0",
            "C/1/0",
            "C/2/1",
        )
    ),
    *(f"{YAOZARRS}/broken/broken_v05.ome.zarr/{place}" for place in ("C/3/0", "C/3/1")),
    *(f"{YAOZARRS}/broken/broken_v05.ome.zarr/{at}/labels/annotations" for at in ("B/3/0", "C/1/0")),
    # Their axes have no units, so a unit is given.
    f"{RFC_4}/SC-01_quadruped_valid.ome.zarr",
    f"{RFC_4}/SC-02_null_orientation.ome.zarr",
    "ome2024-ngff-challenge/tests/data/2d.zarr",
    *(f"ome2024-ngff-challenge/tests/data/bf2raw.zarr/{i}" for i in (0, 1)),
    *(
        f"ome2024-ngff-challenge/tests/data/hcs.zarr/{w}/{i}"
        for w in ("A/1", "A/2", "B/1", "B/2")
        for i in (0, 1)
    ),
    # RFC 4 (orientation of axes) is not looked at: we are more lenient than its validator here.
    f"{RFC_4}/SC-03_channel_orientation.ome.zarr",
    f"{RFC_4}/SC-05_missing_value.ome.zarr",
    f"{RFC_4}/SC-06_bad_type.ome.zarr",
    f"{RFC_4}/SC-07_duplicate_pair.ome.zarr",
)
NO_ARRAY = "is listed as a level but .* holds no zarr array"
BAD_SAMPLES = {
    f"{EXAMPLES}/invalid/image-01.zarr": "has no 'multiscales'|not a zarr group",
    f"{EXAMPLES}/invalid/image-02.zarr": "it has no 'multiscales'",
    f"{EXAMPLES}/invalid/image-03.zarr": "'0' is listed as a level",
    f"{EXAMPLES}/invalid/image-04.zarr": "the array has 2 axes, the metadata 3",
    # Valid, but stricter here: labels are exact, so images of 64-bit integers are refused.
    f"{EXAMPLES}/warning/image-01.zarr": "an image must be one of",
    f"{YAOZARRS}/broken/broken_v05.ome.zarr/A/1/0": "'0' is listed as a level",
    f"{YAOZARRS}/broken/broken_v05.ome.zarr/A/1/1/labels/annotations": "bare zarr array",
    f"{YAOZARRS}/broken/broken_v05.ome.zarr/B/1/0": "the array has 5 axes, the metadata 3",
    f"{YAOZARRS}/broken/broken_v05.ome.zarr/B/2/0": "level 0 .* cannot be opened",
    f"{YAOZARRS}/broken/broken_v05.ome.zarr/B/3/1": "bare zarr array",
    f"{YAOZARRS}/broken/broken_v05.ome.zarr/B/1/0/labels/annotations": "labels must be one of",
    f"{YAOZARRS}/broken/broken_v05.ome.zarr/C/2/0": "it has no 'multiscales'",
    # Valid, but voxels do not lie along the axes.
    f"{NEUROGLANCER}/all_0.6/simple/affine.zarr": "transformation 'affine' is not supported; voxels must lie",
    f"{NEUROGLANCER}/all_0.6/simple/rotation.zarr": "transformation 'rotation' is not supported",
    f"{NEUROGLANCER}/all_0.6/simple/anisotropic_rotation.zarr": "to 'world' is one of type 'affine'",
    f"{MODELS}/v06/stitched_tiles_2d.zarr": "it is a scene, open one of the images inside it",
} | {
    f"{SPEC}/spec/invalid/image/{name}.ome.zarr": says
    for name, says in {
        "duplicate_axes": r"axis names repeat: \['x', 'x'\]",
        "duplicate_scale": "level 0 .* must have one transformation to 'intrinsic', got 2",
        "empty_transformations": "must have one transformation to '', got 0",
        "invalid_axes_count": "'axes' must list 2 to 5 axes",
        "invalid_axis_type": "axis y is of type 'invalid', not 'space'",
        "invalid_channels_color": NO_ARRAY,
        "invalid_channels_window": NO_ARRAY,
        "invalid_multiscales_transformations": "a transformation of the image names no input or no output",
        "invalid_path": "level 0 has no path",
        "invalid_transformation_type": "translation must be 2 numbers, got None",
        "missing_axes": "'coordinateSystems' must list at least one system, got None",
        "missing_axes_name": r"axis names repeat: \['', ''\]",
        "missing_datasets": "'datasets' is empty",
        "missing_path": "level 0 has no path",
        "missing_scale": "placed in the coordinate system 'intrinsice'; there are",
        "missing_space_axes": r"axes \['t', 'c'\] lack y or x",
        "missing_transformations": "must have one transformation to '', got None",
        "no_axes": "'coordinateSystems' must list at least one system, got None",
        "no_datasets": "'datasets' is empty",
        "no_multiscales": "it has no 'multiscales'",
        "one_space_axes": r"axes \['t', 'c', 'x'\] lack y or x",
        "too_many_axes": "'axes' must list 2 to 5 axes",
        "too_many_space_axes": "axis names repeat",
    }.items()
}
"""Why each is refused."""


@pytest.fixture(scope="module")
def samples(em_data, tmp_path_factory) -> Path:
    """The corpus of NGFF samples, unpacked."""
    folder = tmp_path_factory.mktemp("ngff")
    with tarfile.open(em_data / "ngff/ngff_samples.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "ngff"


@pytest.mark.parametrize("name", GOOD_SAMPLES)
@pytest.mark.filterwarnings("ignore")
def test_valid_samples_of_other_projects_are_read(samples, name):
    channel = 0 if any(part in name for part in ("hcs.zarr", "2d.zarr", "SC-03")) else None
    metadata, volumes, problems = inspect(samples / name, channel=channel, unit="nm")
    assert problems == []
    assert len(volumes) == len(metadata.levels) > 0
    array = zarr.open_array(samples / name / volumes[0].path, mode="r")
    assert sorted(array.shape)[-1] == max(volumes[0].shape)
    assert volumes[0].dtype == array.dtype.name


@pytest.mark.parametrize("name", BAD_SAMPLES)
@pytest.mark.filterwarnings("ignore")
def test_invalid_samples_of_other_projects_are_refused(samples, name):
    assert (samples / name).is_dir()
    with pytest.raises(InputError, match=BAD_SAMPLES[name]):
        open_volume(samples / name, unit="nm")


@pytest.mark.filterwarnings("ignore")
def test_no_image_of_the_corpus_is_left_out(samples):
    """All others are metadata alone: they lack their arrays, or are the label entry without the image."""
    for folder in sorted({f.parent for key in ("zarr.json", ".zattrs") for f in samples.rglob(key)}):
        name = str(folder.relative_to(samples))
        if name in GOOD_SAMPLES or name in BAD_SAMPLES or not is_image(folder):
            continue
        with pytest.raises(InputError, match=rf"{NO_ARRAY}|has no 'multiscales'|is not a zarr group"):
            open_volume(folder, unit="nm")


def is_image(folder: Path) -> bool:
    """Whether the attributes of a group have metadata of an image or a label image."""
    key = folder / ("zarr.json" if (folder / "zarr.json").exists() else ".zattrs")
    try:
        attributes = json.loads(key.read_text())
    except ValueError:
        return False
    attributes = attributes.get("attributes", attributes)
    ome = attributes.get("ome", attributes)
    return "multiscales" in ome or "image-label" in ome


@pytest.mark.parametrize(
    ("name", "voxel_nm", "origin_nm"),
    [
        ("basic/identity", (1e3, 1e3, 1e3), (0, 0, 0)),
        ("basic/scale", (4e3, 3e3, 2e3), (0, 0, 0)),
        ("basic/translation", (1e3, 1e3, 1e3), (30e3, 20e3, 10e3)),
        ("basic/sequenceScaleTranslation", (4e3, 3e3, 2e3), (32e3, 21e3, 10e3)),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_transformations_of_neuroglancers_samples_are_followed(samples, name, voxel_nm, origin_nm):
    volume = open_volume(samples / NEUROGLANCER / f"all_0.6/{name}.zarr")
    assert (volume.voxel_nm, volume.origin_nm) == (voxel_nm, origin_nm)
    assert (volume.ome_version, volume.shape) == ("0.6", (27, 226, 186))


@pytest.mark.filterwarnings("ignore")
def test_axes_are_ordered_as_neuroglancers_sample_of_mapaxis_says(samples):
    """Its z, y, x are the axes 1, 2, 0 of the array."""
    volume = open_volume(samples / NEUROGLANCER / "all_0.6/axis_dependent/mapAxis.zarr")
    assert volume.axes == ("x", "z", "y")
    assert volume.shape == (226, 186, 27)
