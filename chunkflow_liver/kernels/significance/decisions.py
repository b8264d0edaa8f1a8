"""Which tests of narrowings are given a p-value, and why others are not."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.kernels.significance.permutations import adjusted
from chunkflow_liver.xp import Array

NO_TEST = (
    ("no object has a narrowing and another window", "no contact on any object that has both"),
    ("no cell has objects with a narrowing and objects without", "no contact in any cell that has both"),
    ("no cell has objects, with a narrowing and without, that are long enough", "no contact on such objects"),
)
"""Why there is no p-value, for each test: nothing to compare, or 0 / 0 in all that is `missing`."""
LEAST = 6
"""Fewest objects that are given a p-value: a sentence about objects needs objects that agree. Six that do
have p = 2 / 2**6 = 0.03 by their signs alone; five 0.06, and what p there is comes from places within them.
Where two kinds of object are compared, there are as many of either: one that differs from 20 others has
p = 1 / 21.
"""
TOO_FEW = f"fewer than {LEAST} objects to test"
COUNTED = ("objects", "rarer", "cells", "missing", "unpaired")


def decided(effect: dict[str, Array], why: list[tuple[str, str]]) -> dict[str, Array]:
    """The columns of tests with q-values; p-values of enough objects only, or else the reason."""
    none, few = np.isnan(effect["p_value"]), effect["rarer"] < LEAST
    rows = zip(none.tolist(), few.tolist(), effect["missing"].tolist(), why, strict=True)
    reasons = [words[missing > 0] if no else TOO_FEW if less else "" for no, less, missing, words in rows]
    p_values = np.where(few, np.nan, effect["p_value"])
    return {
        **{n: c.astype(np.int64) if n in COUNTED else c for n, c in effect.items()},
        "p_value": p_values,
        "q_value": adjusted(p_values),
        "no_test": np.array(reasons, dtype=object),
    }
