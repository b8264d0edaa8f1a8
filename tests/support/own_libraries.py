"""Files of every kind with drawn contents, and what the library that the format belongs to reads of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import imagecodecs
import mrcfile
import nibabel
import numpy as np
import SimpleITK
import tensorstore
import tifffile
from hypothesis import strategies as st
from PIL import Image

Draw = Callable[[Any], Any]
IMOD_STAMP = 1146047817
ORDERS = list(itertools.permutations(range(3)))


class Read(NamedTuple):
    """A file, what its own library reads of it as (z, y, x), and its voxel size in nm if it states one."""

    path: Path
    array: np.ndarray[Any, Any]
    voxel_nm: tuple[float, float, float] | None = None
    options: dict[str, Any] = {}  # noqa: RUF012  never changed
    dataset: str = ""


def drawn(draw: Draw, dtypes: str, least: int = 2) -> np.ndarray[Any, Any]:
    """An array that is not constant, of a drawn shape and one of the types."""
    shape = [draw(st.integers(least, 7)) for _ in range(3)]
    wanted = np.dtype(draw(st.sampled_from(dtypes.split())))
    dtype = wanted.newbyteorder("=")
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    if dtype.kind == "f":
        array = rng.normal(size=shape).astype(dtype)
    else:
        ends = np.iinfo(dtype)
        array = rng.integers(ends.min, ends.max, shape, dtype=dtype, endpoint=True)
        array[0, 0, 0], array[-1, -1, -1] = ends.min, ends.max
    return array.astype(wanted)


def sizes(draw: Draw) -> list[float]:
    """Voxel size along three axes in nm, all different."""
    return [draw(st.integers(2, 40)) + 0.25 * (i + 1) for i in range(3)]


def nifti(draw: Draw, path: Path) -> Read:
    """Any permutation and flips of axes, any scale; nibabel turns it."""
    array, nm = drawn(draw, "uint8 int16 uint16 float32"), sizes(draw)
    order, signs = draw(st.sampled_from(ORDERS)), [draw(st.sampled_from([1, -1])) for _ in range(3)]
    affine = np.zeros((4, 4))
    for stored, world in enumerate(order):
        affine[world, stored] = signs[stored] * nm[stored] / 1000
    affine[:, 3] = [draw(st.integers(-9, 9)) for _ in range(3)] + [1]
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("micron")
    file = path / draw(st.sampled_from(["a.nii", "a.nii.gz"]))
    image.to_filename(file)
    if file.suffix == ".nii" and draw(st.booleans()):
        raw = bytearray(file.read_bytes())
        raw[112:120] = np.array(draw(st.sampled_from([(2, 0), (0.5, 3), (1 / 255, 0)])), "<f4").tobytes()
        file.write_bytes(bytes(raw))
    canonical = nibabel.as_closest_canonical(nibabel.load(file))
    zooms = tuple(float(v) * 1000 for v in canonical.header.get_zooms()[::-1])
    return Read(file, np.asarray(canonical.dataobj).T, zooms)


def mrc(draw: Draw, path: Path) -> Read:
    """Any axis map; bytes of IMOD, of old programs and of MRC2014."""
    array, nm = drawn(draw, "int8 int16 uint16 float32"), sizes(draw)
    order = draw(st.sampled_from(ORDERS))  # world axis (0 is x) of sections, rows and columns
    file = path / "a.mrc"
    with mrcfile.new(file) as made:
        made.set_data(array)
        made.set_volume()
        made.header.maps, made.header.mapr, made.header.mapc = (n + 1 for n in order)
        counts = {world: array.shape[i] for i, world in enumerate(order)}
        made.header.mx, made.header.my, made.header.mz = (counts[i] for i in range(3))
        made.header.cella = tuple(10 * nm[i] * counts[i] for i in range(3))
    values = array
    if array.dtype == np.int8:
        raw = bytearray(file.read_bytes())
        kind = draw(st.sampled_from(["mrc2014", "imod signed", "imod unsigned", "old"]))
        if kind.startswith("imod"):
            raw[152:160] = np.array([IMOD_STAMP, kind == "imod signed"], "<i4").tobytes()
        if kind == "old":
            raw[76:84] = np.array([0, 255], "<f4").tobytes()
        file.write_bytes(bytes(raw))
        values = (array.astype(int) + 128).astype("uint8") if kind == "imod signed" else array
        values = array.view("uint8") if kind in ("imod unsigned", "old") else values
    turned = values.transpose([order.index(world) for world in (2, 1, 0)])
    return Read(file, turned, (nm[2], nm[1], nm[0]))


def itk(draw: Draw, path: Path) -> Read:
    """NRRD and MetaImage, packed or not, header apart or not, turned in any way; SimpleITK reads it."""
    array = drawn(draw, "uint8 int8 int16 uint16 int32 uint32 float32 float64")
    order, signs = draw(st.sampled_from(ORDERS)), [draw(st.sampled_from([1.0, -1.0])) for _ in range(3)]
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing([3.0, 4.0, 5.0])
    direction = np.zeros((3, 3))
    for stored, world in enumerate(order):
        direction[world, stored] = signs[stored]
    image.SetDirection(direction.ravel())
    image.SetOrigin([1.0, -2.0, 30.0])
    file = path / draw(st.sampled_from(["a.nrrd", "a.nhdr", "a.mha", "a.mhd"]))
    SimpleITK.WriteImage(image, str(file), useCompression=draw(st.booleans()))
    turned = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(file)), "LPS")
    return Read(file, SimpleITK.GetArrayFromImage(turned), None, {"voxel_nm": (4, 4, 4)})


def imagej(draw: Draw, path: Path) -> Read:
    """A stack with a straight calibration, as ImageJ writes signed numbers."""
    array = drawn(draw, "uint8 uint16", 4)
    offset, scale = draw(st.sampled_from([(-32768, 1), (0, 2), (-1.5, 0.5), (10, -1)]))
    file = path / "a.tif"
    more = {"cf": 0, "c0": offset, "c1": scale, "vunit": "value"}
    tifffile.imwrite(
        file,
        array,
        imagej=True,
        resolution=(1 / 6, 1 / 5),
        metadata={"axes": "ZYX", "unit": "nm", "spacing": 40.0, "Info": "", **more},
        compression=draw(st.sampled_from([None, "zlib"])),
    )
    return Read(file, tifffile.imread(file) * np.float64(scale) + offset, (40.0, 5.0, 6.0))


def ome_tiff(draw: Draw, path: Path) -> Read:
    """Planes in any order of pages, in one file or each in its own."""
    array = drawn(draw, "uint8 uint16 float32")
    pages = draw(st.permutations(range(len(array))))
    apart = draw(st.booleans())
    files = [f"s{i}.ome.tif" for i in range(len(array))] if apart else ["s.ome.tif"] * len(array)
    kind = {"float32": "float"}.get(array.dtype.name, array.dtype.name)
    shape = dict(zip("ZYX", array.shape, strict=True))
    places = "".join(
        f'<TiffData IFD="{0 if apart else at}" FirstZ="{z}" PlaneCount="1">'
        f'<UUID FileName="{files[at]}">urn:uuid:{at:08}-0000-4000-8000-000000000000</UUID></TiffData>'
        for at, z in enumerate(pages)
    )
    nm = dict(zip("ZYX", sizes(draw), strict=True))
    told = "".join(f' Size{a}="{shape[a]}" PhysicalSize{a}="{nm[a]}" PhysicalSize{a}Unit="nm"' for a in "XYZ")

    def xml(at: int) -> bytes:
        return (
            '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{at:08}-0000-4000-8000-000000000000"><Image ID="Image:0"><Pixels ID="Pixels:0" '
            f'DimensionOrder="XYZCT" Type="{kind}" SizeC="1" SizeT="1"{told}>{places}</Pixels></Image></OME>'
        ).encode()

    packing = draw(st.sampled_from([None, "zlib"]))  # tifffile takes it to be the same in all pages
    for name in dict.fromkeys(files):
        with tifffile.TiffWriter(path / name) as tif:
            for at in [i for i, file in enumerate(files) if file == name]:
                tif.write(
                    array[pages[at]],
                    description=xml(at if apart else 0) if apart or not at else None,
                    metadata=None,
                    photometric="minisblack",
                    compression=packing,
                )
    source = path if apart and draw(st.booleans()) else path / files[0]
    return Read(source, tifffile.imread(path / files[0]), (nm["Z"], nm["Y"], nm["X"]))


def few_slices(draw: Draw, path: Path) -> Read:
    """Stacks of 3 or 4 slices, which tifffile stores as the samples of one page."""
    array = drawn(draw, "uint8 uint16", 5)[: draw(st.sampled_from([3, 4]))]
    how = draw(st.sampled_from([{}, {"compression": "zlib"}, {"tile": (16, 16)}]))
    tifffile.imwrite(
        path / "a.tif", array, metadata={"axes": "ZYX"}, photometric="rgb", planarconfig="separate", **how
    )
    return Read(path / "a.tif", tifffile.imread(path / "a.tif"), None, {"voxel_nm": (4, 4, 4)})


def hdf5(draw: Draw, path: Path) -> Read:
    """Axes in any order, named by axistags or by dimension scales, with axes of one voxel among them."""
    array, nm = drawn(draw, "uint8 int16 uint16 float32 >u2"), sizes(draw)
    names = draw(st.permutations("zyx"))
    extra = draw(st.sampled_from(["", "c", "t", "tc"]))
    stored = array.transpose(["zyx".index(n) for n in names])
    flips = {n: draw(st.booleans()) for n in "zyx"}
    for name in extra:
        at = draw(st.integers(0, len(names)))
        names, stored = [*names[:at], name, *names[at:]], np.expand_dims(stored, at)
    how = draw(st.sampled_from(["axistags", "scales", "emd", "cf"]))
    with h5py.File(path / "a.h5", "w") as file:
        group = file.create_group("g")
        data = group.create_dataset("data", data=stored, chunks=True if draw(st.booleans()) else None)
        if how == "axistags":
            tags = {"axes": [{"key": n, "typeFlags": 2, "resolution": 0, "description": ""} for n in names]}
            data.attrs["axistags"] = json.dumps(tags)
            return Read(path / "a.h5", array, None, {"voxel_nm": (4, 4, 4)}, "g/data")
        if how == "cf":
            data.attrs["axistags"] = json.dumps({"axes": [{"key": n} for n in names]})
            data.attrs["element_size_um"] = [nm["zyx".index(n)] / 1000 for n in names if n in "zyx"]
            data.attrs["scale_factor"], data.attrs["add_offset"] = 0.5, 7.0
            values = array.astype(float) * 0.5 + 7.0
            return Read(path / "a.h5", values, tuple(nm), {}, "g/data")
        for i, name in enumerate(names):
            step = nm["zyx".index(name)] if name in "zyx" else 1.0
            places = 100.0 + step * np.arange(stored.shape[i])
            places = places[::-1] if flips.get(name) else places
            if how == "scales":
                scale = group.create_dataset(name, data=places)
                scale.make_scale(name)
                data.dims[i].attach_scale(scale)
                scale.attrs["units"] = "nm"
            else:
                group.attrs["emd_group_type"] = 1
                dim = group.create_dataset(f"dim{i + 1}", data=places)
                dim.attrs["name"], dim.attrs["units"] = name, "[n_m]"
    turned = tuple(slice(None, None, -1 if flips[n] else 1) for n in "zyx")
    return Read(path / "a.h5", array[turned], tuple(nm), {}, "g/data")


def chunked(draw: Draw, path: Path) -> Read:
    """N5, precomputed, zarr 2 and 3, axes named in any order; TensorStore reads it."""
    array, nm = drawn(draw, "uint8 uint16 uint32 float32"), sizes(draw)
    driver = draw(st.sampled_from(["n5", "neuroglancer_precomputed", "zarr", "zarr3"]))
    names = draw(st.permutations("zyx")) if driver.startswith("zarr") else list("xyz")
    stored = array.transpose(["zyx".index(n) for n in names])
    lengths = [nm["zyx".index(n)] for n in names]
    spec: dict[str, Any] = {"driver": driver, "kvstore": {"driver": "file", "path": str(path / "a")}}
    if driver == "neuroglancer_precomputed":
        stored = stored[..., None]
        kind = {"type": "image", "data_type": array.dtype.name, "num_channels": 1}
        scale = {"size": stored.shape[:3], "encoding": "raw", "chunk_size": [4, 3, 5], "resolution": lengths}
        spec |= {"multiscale_metadata": kind, "scale_metadata": scale}
    elif driver == "n5":
        spec["metadata"] = {
            "dimensions": stored.shape,
            "dataType": array.dtype.name,
            "blockSize": [4, 3, 5],
            "compression": {"type": "gzip"},
        }
    else:
        spec["dtype"], spec["schema"] = array.dtype.name, {"domain": {"shape": stored.shape}}
        if driver == "zarr3":
            spec["schema"]["domain"]["labels"] = names
    made = tensorstore.open(spec, create=True).result()
    made.write(stored).result()
    if driver == "n5":
        told = json.loads((path / "a/attributes.json").read_text())
        factors = draw(st.sampled_from([[1, 1, 1], [2, 2, 1], [4, 1, 2]]))
        told |= {"pixelResolution": {"dimensions": [v / 1000 for v in lengths], "unit": "um"}}
        told |= {"downsamplingFactors": factors}
        (path / "a/attributes.json").write_text(json.dumps(told))
        nm = [v * f for v, f in zip(nm, factors[::-1], strict=True)]
    if driver.startswith("zarr"):
        attributes = {"resolution": lengths, "units": ["nm"] * 3, "_ARRAY_DIMENSIONS": names}
        if driver == "zarr":
            (path / "a/.zattrs").write_text(json.dumps(attributes))
        else:
            told = json.loads((path / "a/zarr.json").read_text())
            told["attributes"] = attributes
            (path / "a/zarr.json").write_text(json.dumps(told))
    read = np.asarray(
        tensorstore.open({"driver": driver, "kvstore": spec["kvstore"]}).result().read().result()
    )
    read = read.reshape(read.shape[:3]).transpose([names.index(n) for n in "zyx"])
    return Read(path / "a", read, tuple(nm))


def pictures(draw: Draw, path: Path) -> Read:
    """Slices as PNG (grey or with a palette), BMP, PGM, JPEG 2000; Pillow or OpenJPEG reads them."""
    kind = draw(st.sampled_from(["png", "palette", "bmp", "pgm", "jp2"]))
    array = drawn(draw, "uint8" if kind in ("palette", "bmp") else "uint8 uint16", 5)
    read = []
    for z, plane in enumerate(array):
        file = path / f"s{z}.{'png' if kind == 'palette' else kind}"
        if kind == "jp2":
            file.write_bytes(imagecodecs.jpeg2k_encode(plane, level=0, reversible=True))
            read.append(imagecodecs.jpeg2k_decode(file.read_bytes()))
            continue
        image = Image.fromarray(plane)
        if kind == "palette":
            image = Image.fromarray(plane, "L").convert("P")
            image.putdata(plane.ravel().tolist())
            image.putpalette([v for i in range(256) for v in (i, 255 - i, i // 2)])
        image.save(file)
        with Image.open(file) as opened:
            read.append(np.asarray(opened).astype(plane.dtype))
    return Read(path, np.stack(read), None, {"voxel_nm": (4, 4, 4)})


def numpy_file(draw: Draw, path: Path) -> Read:
    """An array as NumPy saves it, in C or Fortran order."""
    array = drawn(draw, "uint8 >i2 float32 uint16")
    np.save(path / "a.npy", array if draw(st.booleans()) else np.asfortranarray(array))
    return Read(path / "a.npy", np.load(path / "a.npy"), None, {"voxel_nm": (4, 4, 4)})


KINDS = (nifti, mrc, itk, imagej, ome_tiff, few_slices, hdf5, chunked, pictures, numpy_file)
