"""DM3, DM4 and Velox EMD files through rosettasciio; MRCZ and FIB-SEM raw images by their bytes."""

from __future__ import annotations

import pickle
import struct

import numpy as np
import pytest
from foreign_files import SHAPE, VOXEL_NM, mrc, volume
from microscope_files import digital_micrograph, velox

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.store.sources import open_source

WHOLE = Box.of(SHAPE)
SIZE = (40.0, 6.0, 5.0)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
def test_a_digital_micrograph_stack_is_read_box_by_box(version, dtype, tmp_path):
    pytest.importorskip("rsciio.digitalmicrograph")
    array = volume(dtype)
    path = digital_micrograph(tmp_path / f"a.dm{version}", array, SIZE)
    source = pickle.loads(pickle.dumps(open_source(path)))
    assert (source.shape, source.dtype) == (SHAPE, dtype)
    assert source.voxel_nm == pytest.approx(SIZE, rel=1e-6)
    for box in (WHOLE, Box((1, 2, 3), (4, 9, 13))):
        np.testing.assert_array_equal(source.read(box), array[box.slices])
    assert open_source(path, dataset="0").identity() == source.identity()
    with pytest.raises(InputError, match=r"no such image\(s\); .* as in .*::0; it has 0: \(5, 12, 14\)"):
        open_source(path, dataset="3")


def test_a_single_digital_micrograph_image_is_one_slice(tmp_path):
    pytest.importorskip("rsciio.digitalmicrograph")
    path = digital_micrograph(tmp_path / "a.dm4", volume()[0], (6.0, 5.0))
    source = open_source(path)
    assert source.voxel_nm == pytest.approx((5.0, 6.0, 5.0))
    np.testing.assert_array_equal(source.read(Box.of((1, *SHAPE[1:]))), volume()[:1])


def test_a_cut_off_digital_micrograph_file_is_refused(tmp_path):
    pytest.importorskip("rsciio.digitalmicrograph")
    path = digital_micrograph(tmp_path / "a.dm3", volume(), SIZE)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=r"a\.dm3 is no readable DM3 and DM4 file"):
        open_source(path).read(WHOLE)


def test_frames_of_velox_are_slices(tmp_path):
    array = volume()
    source = open_source(velox(tmp_path / "a.emd", array, (6.0, 5.0)))
    assert (source.shape, source.dtype, source.voxel_nm, source.chunks) == (
        SHAPE,
        "uint16",
        None,
        (1, 12, 14),
    )
    np.testing.assert_array_equal(source.read(WHOLE), array)
    np.testing.assert_array_equal(source.read(Box((1, 2, 3), (4, 9, 13))), array[1:4, 2:9, 3:13])
    assert open_source(velox(tmp_path / "b.emd", array[:1], (6.0, 5.0))).voxel_nm == (5.0, 6.0, 5.0)


def test_frames_of_velox_are_what_rosettasciio_reads(tmp_path):
    emd = pytest.importorskip("rsciio.emd")
    path = velox(tmp_path / "a.emd", volume(), (6.0, 5.0))
    (image,) = emd.file_reader(path)
    np.testing.assert_array_equal(open_source(path).read(WHOLE), image["data"])
    scales = [axis["scale"] for axis in image["axes"] if axis["name"] in "xy"]
    assert (scales, image["axes"][-1]["units"]) == (pytest.approx([6.0, 5.0]), "nm")


def test_rosettasciio_that_is_absent_is_named_with_the_extra_and_a_way_around(tmp_path, monkeypatch):
    import sys

    for module in ("rsciio", "rsciio.digitalmicrograph"):
        monkeypatch.setitem(sys.modules, module, None)
    says = r"needs 'rosettasciio'; pip install 'chunkflow-liver\[dm\]'; or open .* Fiji and save it as TIFF"
    with pytest.raises(InputError, match=says):
        open_source(digital_micrograph(tmp_path / "a.dm3", volume(), SIZE))


def mrcz(path, array, encode):
    """An MRC file whose planes are Blosc frames: the mode says which compressor, by thousands."""
    mrc(path, array)
    raw = bytearray(path.read_bytes())
    (mode,) = struct.unpack_from("<i", raw, 12)
    raw[12:16] = struct.pack("<i", mode + 6000)
    frames = b"".join(bytes(encode(np.ascontiguousarray(plane))) for plane in array)
    path.write_bytes(bytes(raw[:1024]) + frames)
    return path


@pytest.mark.parametrize("codec", ["blosc_encode", "blosc2_encode"])
@pytest.mark.parametrize("dtype", ["int16", "uint16", "float32"])
def test_the_planes_of_mrcz_are_read_one_by_one(codec, dtype, tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")

    array = volume(dtype)
    path = mrcz(tmp_path / "a.mrcz", array, getattr(imagecodecs, codec))
    source = pickle.loads(pickle.dumps(open_source(path)))
    assert (source.shape, source.dtype, source.voxel_nm, source.chunks) == (
        SHAPE,
        dtype,
        VOXEL_NM,
        (1, 12, 14),
    )
    for box in (WHOLE, Box((1, 2, 3), (4, 9, 13))):
        np.testing.assert_array_equal(source.read(box), array[box.slices])
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"cut off or damaged: plane 4 of 5"):
        open_source(path)


@pytest.mark.parametrize(
    ("name", "head", "says"),
    [
        (
            "a.dat",
            b"\xd3\xed\xf5\xf2" + bytes(1020),
            "raw image of a Janelia FIB-SEM: .*HDF5 with jeiss-convert",
        ),
        ("a.wkw", b"WKW\x01" + bytes(60), "WEBKNOSSOS cube .WKW.: .*webknossos export-as-tiff"),
        ("a.czi", b"ZISRAWFILE" + bytes(60), "Zeiss CZI: convert it with Bio-Formats, 'bfconvert a.czi"),
        ("a.lif", b"p\0\0\0" + bytes(60), "Leica LIF: convert it with Bio-Formats"),
        ("a.am", b"# AmiraMesh BINARY\n", "Amira or Avizo: .*save it as TIFF"),
        ("a.mat", b"MATLAB 5.0 MAT-file" + bytes(200), r"before version 7\.3: .*-v7\.3"),
        ("a.gif", b"GIF89a" + bytes(60), "GIF animation: save it as TIFF"),
        ("a.dcm", bytes(128) + b"DICM", "DICOM: convert it with dcm2niix"),
        ("a.klb", bytes(64), "KLB: "),
    ],
)
def test_a_format_that_stays_out_is_named_with_the_program_that_converts_it(name, head, says, tmp_path):
    (tmp_path / name).write_bytes(head)
    with pytest.raises(InputError, match=says):
        open_source(tmp_path / name)
    with pytest.raises(InputError, match=says):  # a folder of them
        open_source(tmp_path)
