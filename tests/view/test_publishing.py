"""A precomputed volume holds every level, the meshes and the table, in few files."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from strategies import command, write

import chunkflow_liver as cf
from chunkflow_liver.errors import InputError, OutputError
from chunkflow_liver.view.publishing import publish

ts = pytest.importorskip("tensorstore", reason="needs the extra 'formats'")


def opened(folder, index=0):
    spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": f"{folder}/"}}
    return ts.open(spec | {"scale_index": index}).result()


def test_labels_of_a_run_are_published_with_meshes_and_properties(finished, tmp_path):
    labels = finished / "results.ome.zarr/labels/mitos"
    table = finished / "tables/mito-table.parquet"
    to = tmp_path / "mitos.precomputed"
    code, said, told = command("export", labels, to, "--table", table, "--mesh", 2)
    assert (code, said.strip()) == (0, str(to)), told
    info = json.loads((to / "info").read_text())
    assert info["scales"][0]["resolution"] == [16, 16, 40]
    assert info["scales"][0]["sharding"]["@type"] == "neuroglancer_uint64_sharded_v1"
    array = cf.open_volume(labels).read()
    np.testing.assert_array_equal(opened(to).read().result()[..., 0].T, array)
    properties = json.loads((to / info["segment_properties"] / "info").read_text())
    assert properties["inline"]["ids"] == [str(i) for i in np.unique(array)[1:]]
    data = (to / info["mesh"] / "2.fragment").read_bytes()
    (count,) = struct.unpack_from("<I", data)
    vertices = np.frombuffer(data, "<f4", 3 * count, 4).reshape(count, 3)
    z, y, x = np.nonzero(array == 2)
    np.testing.assert_allclose(vertices.min(axis=0), [x.min() * 16, y.min() * 16, z.min() * 40])
    np.testing.assert_allclose(
        vertices.max(axis=0), [(x.max() + 1) * 16, (y.max() + 1) * 16, (z.max() + 1) * 40]
    )
    assert command("export", labels, to)[0] == 2


def test_the_library_of_paraview_reads_what_is_exported(finished, tmp_path):
    """VTK: meshes and NIfTI in their places; of TIFF all values, and one voxel size along all axes."""
    vtk = pytest.importorskip("vtk", reason="ParaView's library is not here")
    from vtk.util.numpy_support import vtk_to_numpy

    labels = cf.open_volume(finished / "results.ome.zarr/labels/mitos")
    array = labels.read()
    z, y, x = np.nonzero(array == 2)
    ends = [end for i, n in ((x, 16), (y, 16), (z, 40)) for end in ((i.min() - 0.5) * n, (i.max() + 0.5) * n)]
    for ending, reader in ((".ply", vtk.vtkPLYReader()), (".obj", vtk.vtkOBJReader())):
        (path,) = cf.export_mesh(
            labels, finished / "tables/mito-table.parquet", tmp_path / ending[1:], ids=[2], ending=ending
        )
        reader.SetFileName(str(path))
        reader.Update()
        np.testing.assert_allclose(reader.GetOutput().GetBounds(), ends, atol=0.01)
    sizes = {"nii.gz": (0.016, 0.016, 0.04), "tif": (1.6e-5,) * 3}
    for ending, reader in (("nii.gz", vtk.vtkNIFTIImageReader()), ("tif", vtk.vtkTIFFReader())):
        assert command("export", labels.url, tmp_path / f"mitos.{ending}")[0] == 0
        reader.SetFileName(str(tmp_path / f"mitos.{ending}"))
        reader.Update()
        image = reader.GetOutput()
        assert image.GetDimensions() == array.shape[::-1]
        np.testing.assert_allclose(image.GetSpacing(), sizes[ending], rtol=1e-5)
        voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(array.shape)
        np.testing.assert_array_equal(np.sort(voxels.ravel()), np.sort(array.ravel()))
        # VTK counts the rows of TIFF and NIfTI from below.
        assert any((voxels[:, ::step] == array).all() for step in (1, -1))


@pytest.mark.parametrize(
    ("to", "options", "says"),
    [
        ("a.precomputed", ["--meshes"], "give it (--table)"),
        ("a.precomputed", ["--mesh", 2], "give it (--table)"),
        ("a.precomputed", ["--mesh", 2, "--meshes"], "give one of them"),
        ("a.precomputed", ["--level", 1], "--level is for TIFF and NIfTI"),
        ("a.precomputed", ["--of", "mitos"], "--of is for a work folder"),
        (
            "a.tif",
            ["--table", "mitos.parquet"],
            "--table is for an image that goes to a name in .precomputed",
        ),
        ("a.tif", ["--mesh", 2], "--mesh is for an image"),
        ("a.tif", ["--meshes"], "--meshes is for an image"),
    ],
)
def test_options_that_an_ending_does_not_take_are_refused(finished, tmp_path, to, options, says):
    labels = finished / "results.ome.zarr/labels/mitos"
    code, _, told = command("export", labels, tmp_path / to, *options)
    assert (code, says in " ".join(told.split())) == (2, True), told
    assert not (tmp_path / to).exists()


def test_the_help_of_export_names_the_ending():
    code, said, _ = command("export", "--help")
    assert (code, "also .precomputed" in " ".join(said.replace("│", " ").split())) == (0, True)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((3, 200, 130), "uint16"), ((70, 65, 64), "float32"), ((1, 5, 7), "uint8")]
)
def test_images_of_any_shape_come_back(tmp_path, shape, dtype):
    array = np.random.default_rng(2).integers(0, 200, shape).astype(dtype)
    volume = write(tmp_path, array, "image", voxel_nm=(40, 8, 8))
    to = publish(volume, tmp_path / "image.precomputed")
    np.testing.assert_array_equal(opened(to).read().result()[..., 0].T, array)
    for level in range(volume.levels):
        coarse = cf.open_volume(volume.url, level=level)
        np.testing.assert_array_equal(opened(to, level).read().result()[..., 0].T, coarse.read())


def test_what_cannot_be_published_is_refused(tmp_path):
    volume = write(tmp_path, np.zeros((2, 3, 4), np.float64), "image")
    with pytest.raises(InputError, match="holds float64 voxels"):
        publish(volume, tmp_path / "a.precomputed")
    assert not (tmp_path / "a.precomputed").exists()
    (tmp_path / "b.precomputed").mkdir()
    volume = write(tmp_path, np.zeros((2, 3, 4), np.uint8), "other")
    with pytest.raises(OutputError, match="exists"):
        publish(volume, tmp_path / "b.precomputed")
