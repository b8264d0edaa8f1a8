"""Formats that are not read: who they are, and the program that makes something readable of them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_BIO_FORMATS = (
    "convert it with Bio-Formats, 'bfconvert {name} out.ome.tif' (or bioformats2raw {name} out.zarr), "
    "and give that"
)
_BLIND = (
    "nothing in it tells how its voxels are laid out: write it as NRRD, with a header of text (.nhdr: "
    "type, dimension, "
    "sizes, endian, encoding: raw, data file), and give the .nhdr file"
)


class Named(NamedTuple):
    """A format by the endings of its names and its first bytes.

    Attributes
    ----------
    name : str
    endings : tuple of str
    magic : bytes
        First bytes of such files; none if they tell nothing.
    way : str
        What to do with a file, which is called {name}.
    """

    name: str
    endings: tuple[str, ...]
    magic: bytes
    way: str


FORMATS = (
    Named(
        "a raw image of a Janelia FIB-SEM",
        (".dat",),
        b"\xd3\xed\xf5\xf2",
        "convert it to HDF5 with jeiss-convert (github.com/clbarnes/jeiss-convert), or open it in Fiji "
        "(its FIB-SEM "
        "reader) and save it as TIFF",
    ),
    Named(
        "a WEBKNOSSOS cube (WKW)",
        (".wkw", "datasource-properties.json"),
        b"WKW",
        "export the layer with the package 'webknossos': 'webknossos export-as-tiff', or layer.export in "
        "Python for "
        "OME-Zarr",
    ),
    Named("Zeiss CZI", (".czi",), b"ZISRAWFILE", _BIO_FORMATS),
    Named("Leica LIF", (".lif", ".lof", ".xlef"), b"", _BIO_FORMATS),
    Named("Nikon ND2", (".nd2",), b"\xda\xce\xbe\x0a", _BIO_FORMATS),
    Named("Olympus", (".oib", ".oif", ".oir", ".vsi"), b"", _BIO_FORMATS),
    Named(
        "DICOM",
        (".dcm", ".dicom"),
        b"",
        "convert it with dcm2niix to NIfTI, or in 3D Slicer to NRRD, and give that",
    ),
    Named(
        "Amira or Avizo",
        (".am",),
        b"# AmiraMesh",
        "open it in Fiji (Amira reader) and save it as TIFF, or export it from Amira as MRC or TIFF",
    ),
    Named("Amira or Avizo", (".am",), b"# Avizo", "export it from Amira as MRC or TIFF, and give that"),
    Named(
        "KLB",
        (".klb",),
        b"",
        "open it in Fiji (KLB plugin) and save it as TIFF, or convert it with pyklb to HDF5",
    ),
    Named("a GIF animation", (".gif",), b"GIF8", "save it as TIFF, e.g. in Fiji, and give that"),
    Named(
        "an Imaris 3 or Vaa3D file",
        (".v3draw", ".v3dpbd"),
        b"",
        "open it in Vaa3D or Fiji and save it as TIFF",
    ),
    Named(
        "arrays in a zip file of NumPy", (".npz",), b"", "save one array alone: numpy.save('a.npy', array)"
    ),
    Named(
        "a MATLAB file before version 7.3",
        (".mat",),
        b"MATLAB 5.0",
        "save it anew in MATLAB with save(..., '-v7.3'), or with scipy.io.loadmat and numpy.save as .npy",
    ),
    Named(
        "a zip file",
        (".ozx", ".zip"),
        b"PK\x03\x04",
        "a zipped OME-Zarr image (.ozx, .zip) is used as it is, without convert; unpack any other, and give "
        "what was in it",
    ),
    Named("a tar file", (".tar", ".tgz", ".tar.gz"), b"", "unpack it first, and give what was in it"),
    Named("a file compressed with gzip", (".gz",), b"\x1f\x8b", "unpack it first: gunzip {name}"),
    Named("a file compressed with bzip2", (".bz2",), b"BZh", "unpack it first: bunzip2 {name}"),
    Named("a file compressed with xz", (".xz",), b"\xfd7zXZ", "unpack it first: unxz {name}"),
    Named("a raw file without a header", (".raw", ".bin", ".vol"), b"", _BLIND),
)


def known(path: str, head: bytes = b"") -> str:
    """What a file that is not read is, and what to do with it; nothing of one that nobody here knows."""
    name = Path(path).name
    alike = [f for f in FORMATS if head.startswith(f.magic) and name.lower().endswith(f.endings)]
    by_magic = [f for f in FORMATS if f.magic and head.startswith(f.magic)]
    by_name = [f for f in FORMATS if name.lower().endswith(f.endings)]
    found = next(iter((*alike, *by_magic, *by_name)), None)
    return "" if found is None else f"it is {found.name}: {found.way.format(name=name)}"


def known_by_name(*names: str) -> str:
    """What the first file of a known format is, among some that are no slices."""
    return next((text for name in names if (text := known(name))), "")
