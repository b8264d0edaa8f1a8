"""Arrays that another program writes anew under the same path while this process has them open."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr

from chunkflow_liver.errors import InputError
from chunkflow_liver.store.images import open_volume

COUNTED = np.arange(5 * 7 * 9, dtype=np.uint16).reshape(5, 7, 9)
MULTISCALES = {
    "version": "0.4",
    "axes": [{"name": a, "type": "space", "unit": "nanometer"} for a in "zyx"],
    "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [40.0, 8.0, 8.0]}]}],
}


def write_anew(url: str, values: np.ndarray[Any, Any], **array: Any) -> None:
    """An OME-Zarr image as zarr writes it, in place of what lies there."""
    if "://" not in url:
        shutil.rmtree(url, ignore_errors=True)
    group = zarr.open_group(url, mode="w", zarr_format=2)
    group.create_array("0", data=values, chunks=(5, 7, 9), **array)
    group.attrs["multiscales"] = [MULTISCALES]


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "a.zarr") if request.param == "local" else f"memory://{tmp_path.name}/a.zarr"


@pytest.mark.parametrize(
    ("values", "array"),
    [
        (COUNTED.astype(">u2"), {}),
        (COUNTED, {"filters": [numcodecs.Delta(dtype="u2")]}),
        (COUNTED[:, :3] + 0.5, {}),
        (COUNTED + 1, {"compressors": None}),
    ],
    ids=["byte order", "filter", "dtype and shape", "compression"],
)
def test_an_image_that_was_written_anew_is_opened_as_it_is_now(url, values, array):
    write_anew(url, COUNTED)
    np.testing.assert_array_equal(open_volume(url).read(), COUNTED)
    write_anew(url, values, **array)
    np.testing.assert_array_equal(open_volume(url).read(), values)


def test_a_handle_from_before_reads_what_is_there_now_if_its_dtype_and_shape_are_the_same(tmp_path):
    url = str(tmp_path / "a.zarr")
    write_anew(url, COUNTED)
    volume = open_volume(url)
    np.testing.assert_array_equal(volume.read(), COUNTED)
    write_anew(url, (COUNTED + 1).astype(">u2"), compressors=None)
    np.testing.assert_array_equal(volume.read(), COUNTED + 1)


@pytest.mark.parametrize("values", [COUNTED[:4], COUNTED.astype(np.uint32), COUNTED[None]])
def test_a_handle_from_before_is_refused_if_they_are_not(url, values):
    write_anew(url, COUNTED)
    volume = open_volume(url)
    write_anew(url, COUNTED)
    group = zarr.open_group(url, mode="r+", zarr_format=2)
    group.create_array("0", data=values, chunks=(5, 7, 9, 9)[: values.ndim], overwrite=True)
    with pytest.raises(
        InputError,
        match=r"a.zarr/0 was written anew since it was opened: it held \(5, 7, 9\) voxels of uint16, and has "
        rf"the shape \({', '.join(map(str, values.shape))}\) of {values.dtype} now; open it again",
    ):
        volume.read()


def test_a_zipped_image_that_was_written_anew(tmp_path):
    for values in (COUNTED, COUNTED.astype(">u2")):
        write_anew(str(tmp_path / "a.zarr"), values)
        with zipfile.ZipFile(tmp_path / "a.ozx", "w") as out:
            for file in sorted((tmp_path / "a.zarr").rglob("*")):
                out.write(file, file.relative_to(tmp_path / "a.zarr"))
        if values is COUNTED:
            before = open_volume(tmp_path / "a.ozx")
        np.testing.assert_array_equal(open_volume(tmp_path / "a.ozx").read(), COUNTED)
        np.testing.assert_array_equal(before.read(), COUNTED)
