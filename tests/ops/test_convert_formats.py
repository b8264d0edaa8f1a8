"""What the library of a format reads is what `convert` writes: values, axes, voxel size, orientation."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_libraries import KINDS, Read
from strategies import done

import chunkflow_liver as cf


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_convert_writes_what_the_own_library_reads(kind, data):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "f").mkdir()
        told: Read = kind(data.draw, Path(folder) / "f")
        source = f"{told.path}::{told.dataset}" if told.dataset else told.path
        volume = done(cf.convert(source, Path(folder) / "v.ome.zarr", **told.options))
        opened = cf.open_volume(volume.url)
        np.testing.assert_allclose(opened.read(), told.array, rtol=3e-7, atol=1e-6)
        if told.voxel_nm is not None:
            np.testing.assert_allclose(opened.voxel_nm, told.voxel_nm, rtol=2e-6)
        whole = np.asarray(told.array)
        if whole.dtype.kind in "iu":
            assert opened.dtype == whole.dtype.newbyteorder("=").name
        elif (whole == np.rint(whole)).all() and np.dtype(opened.dtype).kind in "iu":
            assert whole.min() >= np.iinfo(opened.dtype).min
