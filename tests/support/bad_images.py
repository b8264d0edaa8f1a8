"""Rows 1 to 50 of the table of bad inputs: what can be wrong with an image on disk.

Each row is one case; where it names several inputs, they are tried one after the other.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import zarr
from damages import (
    ARRAY,
    DEEP,
    IMAGE,
    OME,
    PLAN,
    SCALE,
    SCALES,
    Bad,
    Edit,
    Fine,
    and_run_file,
    array_of,
    axes,
    chunk,
    flipped,
    float_labels,
    folder_for_chunk,
    gone,
    huge_chunk,
    image_of,
    in_zarr_2,
    instead,
    linked,
    many,
    negative_labels,
    nul,
    one_level,
    permissions_gone,
    scale,
    text,
    truncated,
    with_bomb,
    with_classes,
    with_model,
    with_nan,
)

import chunkflow_liver as cf

DEEP_LOOK = {"verbs": ("validate",), "options": ("--deep",)}
NO_FILE = "is a file, not an OME-Zarr folder; run 'chunkflow-liver convert'"
CHUNK = "cannot read chunk 'c/0/0/0' of .*raw.ome.zarr/0 .voxels "
NO_UNIT = "axis z has no unit; state one"
SHARDS = ("chunk_grid", "configuration", "chunk_shape")


def no_rows(folder: Path) -> None:
    """The tables of nothing have their columns, and no row."""
    found = cf.read_table(folder / "work/tables/mito-er.parquet")
    assert (found.num_rows, "area_a_um2" in found.column_names) == (0, True), found.column_names


IMAGES: dict[str, tuple[Bad, ...]] = {
    "row 1: path does not exist": (Bad(gone(IMAGE), "no such file or folder: .*raw.ome.zarr"),),
    "row 2: empty folder": (
        Bad(instead(Path.mkdir), "is not a zarr group: it has neither zarr.json nor .zgroup"),
    ),
    "row 3: a TIFF or HDF5 file": (
        Bad(instead(lambda p: p.write_bytes(b"II*\0\x08\0\0\0")), NO_FILE),
        Bad(instead(lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n")), NO_FILE),
        Bad(instead(Path.touch), NO_FILE),
    ),
    "row 4: a bare zarr array": (
        Bad(
            instead(lambda p: zarr.create_array(p, shape=(4, 4, 4), dtype="u1")),
            "bare zarr array without OME metadata; run 'chunkflow-liver convert'.*--voxel-nm",
        ),
    ),
    "row 5: no multiscales": (
        Bad(Edit({}, OME), "not an OME-Zarr image: it has no 'multiscales'"),
        Bad(Edit("x", (*OME, "multiscales")), "it has no 'multiscales'"),
    ),
    "row 6: no datasets": (Bad(Edit([], (*SCALES, "datasets")), "'datasets' is empty"),),
    "row 7: a level that is not on disk": (
        Bad(gone(f"{IMAGE}/1"), "'1' is listed as a level but .*/1 holds no zarr array"),
        Bad(Edit("7", (*SCALES, "datasets", 0, "path")), "'7' is listed as a level but .*/7 holds no zarr"),
    ),
    "row 8: a level in another image": (
        Bad(Edit("../x.zarr/0", (*SCALES, "datasets", 0, "path")), "points outside the image: path '../x"),
    ),
    "row 9: a level at an absolute path": (
        Bad(Edit("/etc/passwd", (*SCALES, "datasets", 0, "path")), "points outside the image: path '/etc"),
    ),
    "row 10: a link out of the image": (
        Bad(linked(lambda f: f / IMAGE / "0"), "/0 is a link that leads out of the image"),
        Bad(linked(chunk), "c/0/0/0 is a link that leads out of the image", verbs=("validate",)),
        Bad(linked(chunk), "c/0/0/0 is a link that leads out of the image", **DEEP_LOOK),
        Bad(linked(lambda f: chunk(f).parent), "c/0/0 is a link that leads out", verbs=("validate",)),
        Bad(linked(lambda f: f / IMAGE / "1/zarr.json"), "1/zarr.json is a link that leads out"),
        Fine(linked(chunk, inside=True), "no problem found", verbs=("validate",)),
    ),
    "row 11: no scale": (
        Bad(
            Edit(None, SCALE[:-2], missing=True), r"level 0 \('0'\) states no scale, so its voxel size is unk"
        ),
        Bad(Edit([], SCALE[:-2]), r"level 0 \('0'\) states no scale"),
    ),
    "row 12: scale 0": (Bad(scale(0, 8, 8), "scale for axis z is 0.0; it must be above 0"),),
    "row 13: negative scale": (Bad(scale(8, -8, 8), "scale for axis y is -8.0; it must be above 0"),),
    "row 14: scale NaN or infinite": (
        Bad(scale(8, 8, math.nan), "scale for axis x is nan; it must be above 0"),
        Bad(scale(8, 8, math.inf), "scale for axis x is inf; it must be above 0"),
    ),
    "row 15: scale of texts": (
        Bad(scale("8", 8, 8), r"scale must be 3 numbers, got \['8', 8, 8\]"),
        Bad(scale(True, 8, 8), "scale must be 3 numbers"),
    ),
    "row 16: scale of two for three axes": (Bad(scale(8, 8), r"scale must be 3 numbers, got \[8, 8\]"),),
    "row 17: axes x, y, z": (
        Bad(axes("x", "y", "z"), r"dimension_names \['z', 'y', 'x'\] differ from axes"),
        Fine(
            many(
                axes("x", "y", "z"),
                *(Edit(["x", "y", "z"], ("dimension_names",), f"{i}/zarr.json") for i in "01"),
            ),
            r"\(8, 300, 4\) voxels",
            verbs=("validate",),
        ),
    ),
    "row 18: four axes over three": (Bad(axes("c", "z", "y", "x"), "the array has 3 axes, the metadata 4"),),
    "row 19: an axis twice": (Bad(axes("z", "y", "y"), r"axis names repeat: \['z', 'y', 'y'\]"),),
    "row 20: several times or channels": (
        Bad(array_of("tzyx", (2, 4, 300, 8)), "axis t has 2 entries; choose one with 'timepoint'"),
        Bad(array_of("czyx", (3, 4, 300, 8)), "axis c has 3 entries; choose one with 'channel'"),
        Fine(
            and_run_file(array_of("czyx", (3, 4, 300, 8)), input={"path": IMAGE, "channel": 2}),
            "no problem found",
            verbs=("run file",),
        ),
    ),
    "row 21: a plane, y and x": (
        Fine(array_of("yx", (300, 8)), r"\(1, 300, 8\) voxels of \(8.0, 8.0, 8.0\) nm", verbs=("validate",)),
        # The classes of three dimensions do not fit it.
        Bad(array_of("yx", (300, 8)), r"has \(4, 300, 8\) voxels .*, the image \(1, 300, 8\)", verbs=PLAN),
    ),
    "row 22: no unit": (
        Bad(axes("z", "y", "x", unit=None), NO_UNIT),
        Fine(
            and_run_file(axes("z", "y", "x", unit=None), input={"path": IMAGE, "unit": "nanometer"}),
            "no problem found",
            verbs=("run file",),
        ),
    ),
    "row 23: unknown and short units": (
        Bad(axes("z", "y", "x", unit="foo"), "axis z has unit 'foo'; known are"),
        *(
            Fine(
                many(axes("z", "y", "x", unit=unit), one_level, scale(*[8 * size] * 3)),
                r"voxels of \(8.0, 8.0, 8.0\) nm",
                verbs=("validate",),
            )
            for unit, size in (("nm", 1), ("um", 1e-3), ("µm", 1e-3), ("micron", 1e-3))
        ),
    ),
    "row 24: units that differ": (
        Fine(
            many(
                axes("z", "y", "x"),
                Edit("micrometer", (*SCALES, "axes", 0, "unit")),
                one_level,
                scale(0.008, 8, 8),
            ),
            r"voxels of \(8.0, 8.0, 8.0\) nm",
            verbs=("validate", "run file"),
        ),
    ),
    "row 25: a voxel of 8 metres": (
        Bad(
            axes("z", "y", "x", unit="meter"), "a voxel of 8e.09 nm along z is not credible; check scale and"
        ),
    ),
    "row 26: levels from coarse to fine": (
        Bad(
            Edit(lambda d: d[::-1], (*SCALES, "datasets")),
            "levels are not ordered from fine to coarse: '0' has smaller voxels than '1'",
        ),
    ),
    "row 27: levels of two dtypes": (
        Bad(
            Edit("uint16", ("data_type",), "1/zarr.json"),
            r"levels have different dtypes: \['uint8', 'uint16'\]",
        ),
    ),
    "row 28: dimension names that are not the axes": (
        Bad(Edit(["a", "b", "c"], ("dimension_names",), ARRAY), r"dimension_names \['a', 'b', 'c'\] differ"),
        Bad(Edit(["y", "x"], ("dimension_names",), ARRAY), "2 dimension_names for 3 axes"),
    ),
    "row 29: another version, or none": (
        Bad(Edit("9.9", (*OME, "version")), "OME-Zarr version '9.9'; supported are 0.1 0.2 0.3 0.4 0.5 0.6"),
        Fine(Edit(None, (*OME, "version"), missing=True), "no problem found", verbs=("validate",)),
    ),
    "row 30: metadata 0.5 in zarr 2, 0.4 in zarr 3": (
        Bad(in_zarr_2, "OME-Zarr 0.5 metadata in zarr v2; 0.5 needs v3"),
        Bad(Edit("0.4", (*OME, "version")), "OME-Zarr 0.4 metadata in zarr v3; 0.4 needs v2"),
    ),
    "row 31: an axis of length 0": (Bad(Edit([4, 0, 8], ("shape",), ARRAY), "an axis has length 0; 1 to "),),
    "row 32: one slice": (
        Fine(
            many(image_of(np.ones((1, 300, 8), np.uint8)), with_classes((1, 300, 8))),
            r"\(1, 300, 8\) voxels|300x8 voxels",
            verbs=("validate", *PLAN),
        ),
    ),
    "row 33: smaller than a block or a window": (
        Fine(
            and_run_file(
                many(image_of(np.ones((3, 5, 2), np.uint8)), with_classes((3, 5, 2))), block=[16, 512, 512]
            ),
            "3x5x2 voxels|no problem",
            verbs=PLAN,
        ),
        Fine(
            many(image_of(np.ones((3, 5, 2), np.uint8)), with_model()), "3x5x2 voxels|no problem", verbs=PLAN
        ),
    ),
    "row 34: a shape without end": (
        Bad(Edit([4, 10**18, 8], ("shape",), ARRAY), "an axis has length 1000000000000000000; 1 to"),
        Bad(Edit([2**30] * 3, ("shape",), ARRAY), "are more voxels than the limit of 1.13e.15"),
        # 2^47 voxels in chunks of a few kilobytes: what is missing is counted without asking for each.
        Bad(
            many(one_level, Edit([2**15, 2**16, 2**16], ("shape",), ARRAY)),
            r"level 0: 1048576 or more of \d+ chunks are missing",
            verbs=("validate",),
        ),
    ),
    "row 35: a shape of other numbers, or too few": (
        Bad(Edit([4, -300, 8], ("shape",), ARRAY), "an axis has length -300"),
        Bad(Edit([4, 300.5, 8], ("shape",), ARRAY), "shape must be a list of integers, got"),
        Bad(Edit([300, 8], ("shape",), ARRAY), "0: the array has 2 axes, the metadata 3"),
        Bad(Edit("big", ("shape",), ARRAY), "shape must be a list of integers, got 'big'"),
    ),
    "row 36: a chunk of 0": (
        Bad(Edit([0, 64, 8], SHARDS, ARRAY), r"0: shard shape must be integers from 1, got \[0, 64, 8\]"),
    ),
    "row 37: a chunk of an exabyte": (
        Bad(huge_chunk, r"one chunk of \[1, 1000000000, 1000000000\] is at least 931322574 GiB"),
    ),
    "row 38: unknown codec, dtype or extension": (
        Bad(Edit([{"name": "zip9"}], ("codecs",), ARRAY), "level 0 .'0'. cannot be opened: .*zip9"),
        Bad(Edit("uint13", ("data_type",), ARRAY), "level 0 .'0'. cannot be opened: .*uint13"),
        Bad(
            Edit({"name": "wavy", "configuration": {}}, ("chunk_grid",), ARRAY),
            "0: shard shape must be integers from 1, got None",
        ),
    ),
    "row 39: metadata that are no JSON": (
        Bad(text("{"), "zarr.json is not valid JSON: .*line 1 column 2"),
        Bad(text(""), "zarr.json is not valid JSON: .*line 1 column 1"),
        Bad(text("\x89PNG"), "zarr.json is not valid JSON"),
        Bad(text("[1]"), "zarr.json holds list, expected a JSON object"),
        Bad(text("{", ARRAY), "0/zarr.json is not valid JSON"),
    ),
    "row 40: JSON that is too deep or too long": (
        Bad(text(DEEP), "zarr.json is nested too deeply to be metadata"),
        Bad(text(" " * (5 << 20)), "zarr.json has 5242880 bytes; metadata above"),
    ),
    "row 41: a damaged chunk": (
        Bad(truncated, CHUNK, **DEEP_LOOK),
        Bad(flipped, CHUNK, **DEEP_LOOK),
        Bad(nul, CHUNK, **DEEP_LOOK),
    ),
    "row 42: a missing chunk": (
        Bad(
            lambda f: chunk(f).unlink(),
            "level 0: 1 of 2 chunks are missing, the first is .*c/0/0/0; .*missing_chunks: fill",
            verbs=("validate",),
        ),
    ),
    "row 43: a folder where a chunk should be": (
        Bad(folder_for_chunk, "level 0: 1 of 2 chunks are missing", verbs=("validate",)),
        Bad(
            and_run_file(folder_for_chunk, input={"path": IMAGE, "missing_chunks": "fill"}),
            f"{CHUNK}.*c/0/0/0 is a folder, not a file",
            verbs=("run file",),
            options=("--deep",),
        ),
    ),
    "row 44: a chunk that would fill the memory": (
        Bad(
            with_bomb, "cannot read chunk .*: it would become 67108864 bytes, and its voxels are", **DEEP_LOOK
        ),
    ),
    "row 45: a file without permission": (
        Bad(Path, f"{CHUNK}.*Permission denied", **DEEP_LOOK, during=permissions_gone),
    ),
    "row 46: voxels that are NaN or infinite": (
        Bad(
            with_nan,
            r"level 0: 2 voxels are NaN or infinite, the first at .z, y, x. = \(2, 7, 5\)",
            **DEEP_LOOK,
        ),
    ),
    "row 47: nothing but zeros": (
        Fine(
            many(image_of(np.zeros((4, 300, 8), np.uint8)), with_classes((4, 300, 8), value=0)),
            "",
            verbs=("run",),
            after=no_rows,
        ),
    ),
    "row 48: unusual dtypes": (
        *(
            Fine(image_of(np.ones((4, 300, 8), dtype)), "no problem found", verbs=("validate",))
            for dtype in ("bool", "int8", "float16", "float32", "int16", "uint32")
        ),
        Fine(array_of("zyx", (4, 300, 8), ">u2"), "uint16, 1 level", verbs=("validate",)),
        Bad(array_of("zyx", (4, 300, 8), "u8"), "holds uint64 voxels; an image must be .*if they are ids of"),
    ),
    "row 49: complex, text or structured voxels": (
        Bad(array_of("zyx", (4, 300, 8), "complex64"), "holds complex64 voxels; an image must be one of"),
        *(
            Bad(
                Edit({"name": name, "configuration": how}, ("data_type",), ARRAY),
                "level 0 .*(holds|cannot be)",
            )
            for name, how in (
                ("fixed_length_utf32", {"length_bytes": 16}),
                ("structured", {"fields": [["a", "uint8"], ["b", "float32"]]}),
            )
        ),
    ),
    "row 50: labels that are floats or below 0": (
        Bad(float_labels, "level 0 holds float32 voxels; labels must be one of"),
        Bad(negative_labels, "level 0: labels below 0 in", **DEEP_LOOK),
    ),
}
