"""HDF5 of programs that pad, link and colour what they write: the image comes, or a refusal by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_files import volume

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.sources import open_source

h5py = pytest.importorskip("h5py")

VOXELS = volume()


def whole(source: Any) -> np.ndarray[Any, Any]:
    return source.read(Box.of(source.shape))


def imaris(path: Path, sides: str = "ZYX") -> Path:
    """Two levels, each padded to whole chunks; the image is 5 x 12 x 14 voxels of (40, 8, 4) nm."""

    def text(value: object) -> np.ndarray[Any, Any]:
        return np.array(list(str(value)), "S1")

    with h5py.File(path, "w") as file:
        for level, array in enumerate((VOXELS, VOXELS[:, ::2, ::2])):
            group = file.create_group(f"DataSet/ResolutionLevel {level}/TimePoint 0/Channel 0")
            padded = np.zeros((8, 16, 16), np.uint16)
            padded[tuple(slice(n) for n in array.shape)] = array
            group.create_dataset("Data", data=padded, chunks=(8, 8, 8))
            for axis, n in zip(sides, array.shape, strict=False):
                group.attrs[f"ImageSize{axis}"] = text(n)
        info = file.create_group("DataSetInfo/Image").attrs
        info["Unit"] = text("um")
        for i, (axis, n, low, high) in enumerate(
            (("X", 14, 0.04, 0.096), ("Y", 12, 0, 0.096), ("Z", 5, -0.08, 0.12))
        ):
            info[axis], info[f"ExtMin{i}"], info[f"ExtMax{i}"] = text(n), text(low), text(high)
    return path


def test_imaris_padding_is_no_image(tmp_path: Path) -> None:
    source = open_source(imaris(tmp_path / "a.ims"))
    assert source.voxel_nm == pytest.approx((40, 8, 4))
    assert source.origin == pytest.approx((-2, 0, 10))
    np.testing.assert_array_equal(whole(source), VOXELS)
    coarse = open_source(tmp_path / "a.ims", dataset="DataSet/ResolutionLevel 1/TimePoint 0/Channel 0/Data")
    assert coarse.voxel_nm == pytest.approx((40, 16, 8))
    assert coarse.origin == pytest.approx((-2, 0.25, 5.25))
    np.testing.assert_array_equal(whole(coarse), VOXELS[:, ::2, ::2])


def test_imaris_without_its_sides_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be told from padding; export it as OME-TIFF"):
        open_source(imaris(tmp_path / "a.ims", "Z X"))


def test_partitions_of_big_data_viewer_are_read_through_the_file_that_links_to_them(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "b-01.h5", "w") as file:
        file["t00000/s00/0/cells"] = VOXELS.view("int16")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["s00/resolutions"], file["s00/subdivisions"] = [[1.0, 1, 1]], [[16, 16, 16]]
        file.create_group("t00000/s00/0")["cells"] = h5py.ExternalLink("b-01.h5", "t00000/s00/0/cells")
    for name in ("b.h5", "b-01.h5"):
        source = open_source(tmp_path / name)
        assert source.dtype == "uint16"
        np.testing.assert_array_equal(whole(source), VOXELS)
    before = open_source(tmp_path / "b.h5").identity()
    with h5py.File(tmp_path / "b-01.h5", "r+") as file:
        file["t00000/s00/0/cells"][0] = 7
    assert open_source(tmp_path / "b.h5").identity() != before


def test_a_virtual_dataset_whose_source_is_gone_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["d"] = VOXELS
    for name in ("d", "gone"):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            layout = h5py.VirtualLayout((10, *VOXELS.shape[1:]), "u2")
            layout[:5] = h5py.VirtualSource("p.h5", "d", VOXELS.shape)
            layout[5:] = h5py.VirtualSource("p.h5", name, VOXELS.shape)
            file.create_virtual_dataset("v", layout)
    np.testing.assert_array_equal(whole(open_source(tmp_path / "d.h5")), np.concatenate([VOXELS, VOXELS]))
    with pytest.raises(InputError, match=r"from p\.h5::gone, but there is no such dataset \(1 of 2"):
        open_source(tmp_path / "gone.h5")


@pytest.mark.parametrize("name", ["a.npy", "a.h5"])
@pytest.mark.parametrize("values", [3, 4])
def test_colour_pictures_are_refused_unless_said_to_be_volumes(
    name: str, values: int, tmp_path: Path
) -> None:
    picture = volume("uint8", (20, 24, values))
    if name == "a.npy":
        np.save(tmp_path / name, picture)
    else:
        with h5py.File(tmp_path / name, "w") as file:
            file["d"] = picture
    with pytest.raises(InputError, match=rf"colour picture \({values} values per pixel\).*--axes zyx"):
        open_source(tmp_path / name)
    np.testing.assert_array_equal(whole(open_source(tmp_path / name, axes="zyx")), picture)


def test_a_picture_that_hdf5_calls_coloured_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        told = {"CLASS": np.bytes_("IMAGE"), "IMAGE_SUBCLASS": np.bytes_("IMAGE_TRUECOLOR")}
        file.create_dataset("d", data=volume("uint8", (3, 20, 24))).attrs.update(told)
    with pytest.raises(InputError, match=r"colour picture, as its IMAGE_SUBCLASS says.*--axes zyx"):
        open_source(tmp_path / "a.h5")
    assert open_source(tmp_path / "a.h5", axes="zyx").shape == (3, 20, 24)
