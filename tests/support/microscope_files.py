"""Small DM3 and DM4 files, tag by tag, and EMD files as Velox lays them out."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

DATA_TYPES = {"int16": 1, "float32": 2, "uint8": 6, "int32": 7, "uint16": 10, "uint32": 11}
ELEMENTS = {"int16": 2, "float32": 6, "uint8": 10, "int32": 3, "uint16": 4, "uint32": 5}


class Tags:
    """Writes the tags of one version of the format."""

    def __init__(self, version: int) -> None:
        self.word = ">q" if version == 4 else ">i"
        self.version = version

    def words(self, *values: int) -> bytes:
        return b"".join(struct.pack(self.word, v) for v in values)

    def group(self, tags: list[tuple[str, Any]]) -> bytes:
        inner = b"".join(self.tag(name, value) for name, value in tags)
        return b"\1\0" + self.words(len(tags)) + inner

    def tag(self, name: str, value: Any) -> bytes:
        head = struct.pack(">h", len(name)) + name.encode()
        size = bytes(8) if self.version == 4 else b""
        if isinstance(value, list):
            return b"\x14" + head + size + self.group(value)
        if isinstance(value, int):
            body = self.words(1, 5) + struct.pack("<I", value)
        elif isinstance(value, float):
            body = self.words(1, 6) + struct.pack("<f", value)
        elif isinstance(value, str):
            body = self.words(3, 20, 4, len(value)) + value.encode("utf-16-le")
        else:
            body = self.words(3, 20, ELEMENTS[value.dtype.name], value.size) + value.tobytes()
        return b"\x15" + head + size + b"%%%%" + body


def digital_micrograph(path: Path, array: np.ndarray[Any, Any], sizes_nm: tuple[float, ...]) -> Path:
    """A DM3 or DM4 file, by the ending of its name; sizes in the order of the axes, in units that differ."""
    tags = Tags(int(path.suffix[-1]))
    units = ["nm", "nm", "µm"][: array.ndim]
    lengths = [
        size / 1000 if unit == "µm" else size for size, unit in zip(sizes_nm[::-1], units, strict=True)
    ]
    axes = [
        ("", [("Origin", 0.0), ("Scale", float(length)), ("Units", unit)])
        for length, unit in zip(lengths, units, strict=True)
    ]
    brightness = [("Origin", 0.0), ("Scale", 1.0), ("Units", "")]
    image = [
        ("Calibrations", [("Brightness", brightness), ("Dimension", axes)]),
        ("Data", array),
        ("DataType", DATA_TYPES[array.dtype.name]),
        ("Dimensions", [("", n) for n in array.shape[::-1]]),
        ("PixelDepth", array.itemsize),
    ]
    root = [("ImageList", [("", [("ImageData", image), ("ImageTags", []), ("Name", "stack")])])]
    body = tags.group(root)
    size = struct.pack(tags.word, len(body))
    path.write_bytes(struct.pack(">i", tags.version) + size + struct.pack(">i", 1) + body + bytes(8))
    return path


def velox(path: Path, array: np.ndarray[Any, Any], pixel_nm: tuple[float, float]) -> Path:
    """An EMD file of Velox with one image of frames."""
    metadata = {
        "Core": {},
        "BinaryResult": {
            "PixelSize": {"height": str(pixel_nm[0] * 1e-9), "width": str(pixel_nm[1] * 1e-9)},
            "PixelUnitX": "m",
            "PixelUnitY": "m",
            "Offset": {"x": "0", "y": "0"},
            "Detector": "HAADF",
        },
        "Scan": {"FrameTime": "1"},
        "Acquisition": {},
        "CustomProperties": {},
        "Instrument": {},
        "Detectors": {},
    }
    text = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
    columns = np.repeat(text[:, None], len(array), axis=1)
    with h5py.File(path, "w") as file:
        file["Version"] = np.array([json.dumps({"format": "Velox", "version": "1.11"})], h5py.string_dtype())
        group = file.create_group("Data/Image/0123456789abcdef0123456789abcdef")
        frames = array.transpose(1, 2, 0)  # y, x, frame
        group.create_dataset("Data", data=frames, chunks=(*frames.shape[:2], 1))
        group["Metadata"] = columns
    return path
