"""Ids are looked up, whatever their size and order."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_liver.kernels.labels.relabel import relabel


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(0, 6)] * 3),
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from(["uint8", "int32", "uint64"]),
    keep=st.booleans(),
)
def test_every_voxel_gets_the_id_beside_its_own(shape, seed, dtype, keep):
    rng = np.random.default_rng(seed)
    ids = rng.choice(np.arange(1, 120), 7, replace=False).astype(np.uint64)
    labels = np.concatenate([[0, 0], ids])[rng.integers(0, 9, shape)].astype(dtype)
    old = np.sort(ids[: rng.integers(0, 8)])
    new = rng.integers(0, 200, len(old)).astype(np.uint64)
    table = dict(zip(old.tolist(), new.tolist(), strict=True))
    wanted = [table.get(v, v if keep else 0) for v in labels.ravel().tolist()]
    found = relabel(labels, old, new, keep=keep)
    assert found.dtype == np.uint64
    np.testing.assert_array_equal(found, np.array(wanted, np.uint64).reshape(shape))


def test_ids_above_53_bits_are_not_confused():
    labels = np.array([2**53, 2**53 + 1, 2**64 - 1], np.uint64)
    old = np.array([2**53, 2**64 - 1], np.uint64)
    found = relabel(labels, old, np.array([1, 2], np.uint32))
    assert found.tolist() == [1, 0, 2]
    assert found.dtype == np.uint32
    assert relabel(labels, old, np.array([1, 2], np.uint64), keep=True).tolist() == [1, 2**53 + 1, 2]
