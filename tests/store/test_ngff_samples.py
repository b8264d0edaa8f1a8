"""OME-Zarr images of other projects are read, or refused where they are wrong."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import zarr

from chunkflow_liver.errors import InputError
from chunkflow_liver.store.images import inspect, open_volume

GOOD_SAMPLES = (
    "BioImageTools_ome-zarr-examples/data/valid/image-01.zarr",
    "BioImageTools_ome-zarr-examples/data/valid/image-02.zarr",
    "BioImageTools_ome-zarr-examples/data/valid/image-03.zarr",
    "BioImageTools_ome-zarr-examples/data/valid/image-04.zarr",
    "BioImageTools_ome-zarr-examples/data/valid/plate-01.zarr/A/1/0",
    "BioImageTools_ome-zarr-examples/data/valid/plate-01.zarr/B/2/0",
    "neuroglancer/testdata/datasource/zarr/ome_zarr/simple_0.4",
    "neuroglancer/testdata/datasource/zarr/ome_zarr/simple_0.5",
    "ome-zarr-models-py/tests/data/examples/v04/hcs_example.ome.zarr/B/03/0",
    "ome2024-ngff-challenge/tests/data/hcs.zarr/A/1/0",
    # Their axes have no units, so a unit is given.
    "fideus-labs_rfc4-validation/conformance/cases/SC-01_quadruped_valid.ome.zarr",
    "ome2024-ngff-challenge/tests/data/2d.zarr",
    "ome2024-ngff-challenge/tests/data/bf2raw.zarr/0",
    # RFC 4 (orientation of axes) is not looked at: we are more lenient than its validator here.
    "fideus-labs_rfc4-validation/conformance/cases/SC-03_channel_orientation.ome.zarr",
    "fideus-labs_rfc4-validation/conformance/cases/SC-05_missing_value.ome.zarr",
    "fideus-labs_rfc4-validation/conformance/cases/SC-06_bad_type.ome.zarr",
    "fideus-labs_rfc4-validation/conformance/cases/SC-07_duplicate_pair.ome.zarr",
)
BAD_SAMPLES = {
    "BioImageTools_ome-zarr-examples/data/invalid/image-01.zarr": "has no 'multiscales'|not a zarr group",
    "BioImageTools_ome-zarr-examples/data/invalid/image-02.zarr": "it has no 'multiscales'",
    "BioImageTools_ome-zarr-examples/data/invalid/image-03.zarr": "'0' is listed as a level",
    "BioImageTools_ome-zarr-examples/data/invalid/image-04.zarr": "the array has 2 axes, the metadata 3",
    "ome_ngff-spec/tests/zarr/spec/invalid/image/no_multiscales.ome.zarr": "it has no 'multiscales'",
    "yaozarrs/tests/data/broken/broken_v05.ome.zarr/A/1/0": "'0' is listed as a level",
    "yaozarrs/tests/data/broken/broken_v05.ome.zarr/A/1/1/labels/annotations": "bare zarr array",
    "yaozarrs/tests/data/broken/broken_v05.ome.zarr/B/1/0/labels/annotations": "labels must be one of",
    "yaozarrs/tests/data/broken/broken_v05.ome.zarr/C/2/0": "it has no 'multiscales'",
    # Valid, but stricter here: labels are exact, so images of 64-bit integers are refused.
    "BioImageTools_ome-zarr-examples/data/warning/image-01.zarr": "an image must be one of",
    # 0.6 is not read yet, neither its valid nor its invalid examples.
    "ome_ngff-spec/tests/zarr/strict/valid/image/image.ome.zarr": "OME-Zarr version '0.6rc0'; supported are",
    "ome_ngff-spec/tests/zarr/spec/invalid/image/no_axes.ome.zarr": "OME-Zarr version '0.6rc0'",
    "neuroglancer/testdata/datasource/zarr/ome_zarr/all_0.6/basic/scale.zarr": "version '0.6.dev1'",
    "ome-zarr-models-py/tests/data/examples/v06/stitched_tiles_2d.zarr/tile_0": "version '0.6.dev4'",
}


@pytest.fixture(scope="module")
def samples(em_data, tmp_path_factory) -> Path:
    """The corpus of NGFF samples, unpacked; only the folders that are looked at."""
    folder = tmp_path_factory.mktemp("ngff")
    wanted = tuple(f"ngff/{name}/" for name in (*GOOD_SAMPLES, *BAD_SAMPLES))
    with tarfile.open(em_data / "ngff/ngff_samples.tar.gz") as archive:
        members = [m for m in archive if f"{m.name}/".startswith(wanted)]
        archive.extractall(folder, members, filter="data")
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
