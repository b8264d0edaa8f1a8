"""Targets with a bit per class are counted, drawn and shown as the classes that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.training.losses import IGNORE
from chunkflow_liver.training.recipe import Recipe
from chunkflow_liver.training.regions import class_counts, of_class, topmost

TARGETS = np.array([IGNORE, 0, 1, 2, 3, 5], np.int16)
"""Unknown, background, a, b, a and b, a and c."""


def test_a_voxel_of_several_classes_is_of_each():
    found = [of_class(TARGETS, n, True).tolist() for n in range(4)]
    assert found == [
        [False, True, False, False, False, False],
        [False, False, True, False, True, True],
        [False, False, False, True, True, False],
        [False, False, False, False, False, True],
    ]
    assert class_counts(TARGETS[1:], 4, True) == [1, 3, 2, 1]
    assert class_counts(np.array([0, 2, 2]), 3, False) == [1, 0, 2]
    assert topmost(TARGETS, 4).tolist() == [IGNORE, 0, 1, 2, 2, 3]


def test_what_is_written_is_a_number_that_no_later_class_has():
    given = {"voxel_nm": (1.0, 1.0, 1.0), "window": (8, 8)}
    assert Recipe(("cell", "nucleus"), regions=((1, 2), (2,)), **given).written == (1, 2)
    assert Recipe(("a", "b"), regions=((1, 3), (2, 3)), **given).written == (1, 2)
    assert Recipe(("a", "b"), **given).written == (1, 2)
    assert (Recipe(("a", "b"), **given).heads, Recipe(("a", "b"), regions=((1,), (2, 1)), **given).heads) == (
        3,
        2,
    )
    with pytest.raises(ConfigError, match="classes that overlap are 2 to 8, each with its numbers"):
        Recipe(("a",), regions=((1,),), **given)
