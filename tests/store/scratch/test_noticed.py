"""A full disk is an error, also where NumPy would not say so."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from chunkflow_liver.store.scratch.aside import Aside
from chunkflow_liver.store.scratch.noticed import reserve, save, write_values
from chunkflow_liver.store.scratch.spill import Spill, filled
from chunkflow_liver.store.table import Arrays

FULL = Path("/dev/full")
"""Takes no byte, as a full disk."""
needs_full = pytest.mark.skipif(not FULL.exists(), reason="only Linux has a file that is full")


def refused():
    return pytest.raises(OSError, match="No space left on device")


@needs_full
def test_numbers_that_find_no_room_are_an_error(tmp_path, monkeypatch):
    values = np.arange(100)
    with FULL.open("wb") as file:
        values.tofile(file)  # NumPy says nothing: why this module is there.
    with refused(), FULL.open("wb") as file:
        write_values(file, values)
    with refused():
        Spill(FULL, "int64").append(values)
    with refused():
        save(FULL, values)
    monkeypatch.setattr(Aside, "_path", lambda self, layer: FULL)
    with refused():
        Aside(tmp_path / "aside").put(0, 0, {"a": values})


def test_a_mapped_file_has_its_place_before_it_is_written(tmp_path, monkeypatch):
    zeros = filled(tmp_path / "zeros", 1000, "int64")
    assert not zeros.any()
    assert os.stat(tmp_path / "zeros").st_blocks * 512 >= 8000

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with refused():
        filled(tmp_path / "more", 1000, "int64")
    monkeypatch.delattr(os, "posix_fallocate")
    reserve(tmp_path / "sparse", 100)
    assert (tmp_path / "sparse").stat().st_size == 100


@pytest.mark.parametrize("shape", [(0,), (7,), (2, 3), ()])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32", "<U3"])
def test_the_bytes_are_those_that_numpy_writes(tmp_path, shape, dtype):
    values = np.ones(shape, dtype)
    for name, array in (("a", values), ("b", np.asfortranarray(values))):
        np.save(tmp_path / "theirs.npy", array)
        save(tmp_path / f"{name}.npy", array)
        assert (tmp_path / f"{name}.npy").read_bytes() == (tmp_path / "theirs.npy").read_bytes()
        with (tmp_path / name).open("wb") as file:
            write_values(file, array)
        assert (tmp_path / name).read_bytes() == array.tobytes()


def test_artefacts_are_read_as_they_were_written(tmp_path):
    kept = Arrays(str(tmp_path / "kept"))
    kept.write({"a": np.arange(5), "none": np.zeros(0, np.uint64)})
    assert kept["a"].tolist() == [0, 1, 2, 3, 4]
    assert len(kept["none"]) == 0
