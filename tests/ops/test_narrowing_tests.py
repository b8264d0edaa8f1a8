"""A p-value needs objects that agree, whichever test it is of."""

from __future__ import annotations

import numpy as np
import pytest

import chunkflow_liver as cf
from chunkflow_liver.ops.narrowing import tables


@pytest.mark.parametrize(("with_neck", "without"), [(1, 20), (5, 20), (20, 5), (6, 6)])
def test_no_row_has_a_p_from_fewer_than_six_objects_of_a_kind(with_neck, without):
    """One object that differs from 20 others would have p = 1 / 21, five in six draws of 252."""
    rng = np.random.default_rng(0)
    rows = [(label, True) for label in range(1, with_neck + 1)]
    rows += [(label, False) for label in range(1, with_neck + without + 1) for _ in range(3)]
    label, narrow = (np.array(c) for c in zip(*rows, strict=True))
    contact = np.where(label <= with_neck, 0.9, 0.1) + 0.05 * rng.random(len(label))
    record = {
        "window/label": label.astype(np.uint64),
        "window/cell": np.zeros(len(label), np.uint64),
        "window/branch": np.zeros(len(label), np.int64),
        "window/position_nm": np.zeros(len(label)),
        "window/narrow": narrow,
        "window/tested": np.ones(len(label), bool),
        "window/area_um2": np.ones(len(label)),
        "window/contact_um2": contact[:, None],
    }
    found = tables._tests(iter([(0, record)]), near=cf.Near(permutations=199, draws=10), partners=["er"])
    # Without centre lines nothing is known of places.
    assert found["rarer"].tolist() == [with_neck, min(with_neck, without), 0]
    assert found["no_test"][2].startswith("no cell has objects")
    for rarer, p, why in zip(*(found[k][:2] for k in ("rarer", "p_value", "no_test")), strict=True):
        assert np.isnan(p) == (rarer < 6)
        assert why == ("fewer than 6 objects to test" if rarer < 6 else "")
