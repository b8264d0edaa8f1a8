"""Rows of equal keys become one, whatever the parts and their order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_liver.kernels import rows as module
from chunkflow_liver.kernels.rows import added, distinct, grouped, joined, merged, packed, starts, totals

BIG = 2**64 - 1


def table(seed, n, keys=4):
    rng = np.random.default_rng(seed)
    return {
        "label": rng.choice(np.array([0, 1, 7, BIG, BIG - 1], np.uint64), n),
        "shell": rng.integers(-keys, keys, n),
        "voxels": rng.integers(0, 2**31, n).astype(np.int32),
        "low": rng.integers(-50, 50, (n, 3)),
        "high": rng.integers(-50, 50, (n, 3)),
    }


WAYS = {"low": np.minimum, "high": np.maximum}
KEYS = ("label", "shell")


def by_pandas(columns):
    """The same by pandas, column by column; ids as Python integers, which no float touches."""
    flat = {"label": columns["label"].astype(object), "shell": columns["shell"]}
    flat |= {"voxels": columns["voxels"].astype(np.int64)}
    flat |= {f"{name}{i}": columns[name][:, i] for name in WAYS for i in range(3)}
    how = {"voxels": "sum"} | {f"{n}{i}": {"low": "min", "high": "max"}[n] for n in WAYS for i in range(3)}
    return pd.DataFrame(flat).groupby(list(KEYS), sort=True).agg(how).reset_index()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 999), sizes=st.lists(st.integers(0, 40), min_size=1, max_size=5))
def test_rows_in_any_parts_are_those_of_pandas(seed, sizes):
    parts = [table(seed + i, n) for i, n in enumerate(sizes)]
    whole = joined(parts)
    found = merged(reversed(parts), KEYS, table(0, 0), WAYS)
    want = by_pandas(whole)
    assert found["label"].tolist() == want["label"].tolist()
    assert found["shell"].tolist() == want["shell"].tolist()
    if sum(sizes):
        assert found["voxels"].tolist() == want["voxels"].tolist()
        for name in WAYS:
            assert found[name].T.tolist() == [want[f"{name}{i}"].tolist() for i in range(3)]


def test_rows_are_added_whenever_many_wait(monkeypatch):
    monkeypatch.setattr(module, "_BATCH_ROWS", 3)
    parts = [{"label": np.array([i % 3], np.uint64), "n": np.array([1])} for i in range(20)]
    found = merged(parts, ("label",), {"label": np.zeros(0, np.uint64), "n": np.zeros(0, np.int64)})
    assert found["label"].tolist() == [0, 1, 2]
    assert found["n"].tolist() == [7, 7, 6]


def test_sums_of_floats_depend_on_the_rows_of_their_own_group_only():
    """A sum of floats depends on the order of its terms: rows of other keys in between change no bit."""
    rng = np.random.default_rng(1)
    label, value = rng.integers(0, 9, 4000), rng.normal(size=4000) * 10.0 ** rng.integers(-8, 8, 4000)
    order = np.argsort(label, kind="stable")
    found = grouped({"label": label, "value": value}, ("label",))["value"]
    apart = grouped({"label": label[order], "value": value[order]}, ("label",))["value"]
    np.testing.assert_array_equal(found, apart)


def test_small_integers_are_added_in_64_bits():
    found = added([{"label": np.array([1, 1]), "n": np.array([200, 100], np.uint8)}], ("label",))
    assert found["n"].dtype == np.int64
    assert found["n"].tolist() == [300]


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.sampled_from([0, 3, 2**40, BIG]), st.integers(-9, 2**50)), max_size=30))
def test_packed_rows_are_in_the_order_of_rows(rows):
    a = np.array([r[0] for r in rows], np.uint64)
    b = np.array([r[1] for r in rows], np.int64)
    code = packed([a, b])
    order = sorted(range(len(rows)), key=lambda i: rows[i])
    assert (np.diff(code[order].astype(object)) >= 0).all()
    assert len(set(code.tolist())) == len(set(rows))


def test_groups_begin_where_any_key_changes():
    assert starts(np.array([1, 1, 2, 2]), np.array([0, 0, 0, 5])).tolist() == [0, 2, 3]
    assert starts(np.zeros(0), np.zeros(0)).tolist() == []


def test_totals_of_a_key():
    known, total = totals(np.array([9, 4, 9], np.uint64), np.array([1, 2, 3]))
    assert (known.tolist(), total.tolist()) == ([4, 9], [2, 4])


def test_tables_without_rows_have_their_columns():
    none = {"label": np.zeros(0, np.uint64), "n": np.zeros(0, np.int64)}
    assert {k: v.dtype for k, v in merged([], ("label",), none).items()} == {
        k: v.dtype for k, v in none.items()
    }
    with pytest.raises(IndexError):
        joined([])


@given(
    values=st.lists(st.sampled_from([0, 1, 7, BIG, BIG - 1]), max_size=60),
    kind=st.sampled_from(["u8", "u1", "i4"]),
)
def test_values_and_ranks_of_runs_are_those_of_all_voxels(values, kind):
    labels = np.array([v % 2**7 if kind != "u8" else v for v in values], kind).reshape(1, -1)
    found, rank, length = distinct(labels)
    wanted, inverse = np.unique(labels, return_inverse=True)
    assert found.dtype == labels.dtype
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(np.repeat(rank, length), inverse.ravel())
    assert len(length) == np.count_nonzero(np.diff(labels.ravel().astype("u8"))) + bool(values)
