"""Planes are shown where most is to be seen; without labels at a quarter, half and three quarters."""

from __future__ import annotations

import numpy as np
from strategies import write

from chunkflow_liver.reports.pictures.depths import fullest


def test_each_third_shows_its_fullest_plane(tmp_path):
    labels = np.zeros((30, 12, 12), np.uint8)
    labels[3, 2:4, 2:4] = 1
    labels[14, 1:9, 1:9] = 2
    labels[25, 1:3, 1:3], labels[25, 5:7, 5:7] = 3, 4
    labels[27, 1:3, 1:5] = 5
    volume = write(tmp_path, labels, "own", kind="label")
    found = fullest([[volume]])
    # 25 and 27 are equally full; 25 shows two objects.
    assert found[0] == [3.5 / 30, 14.5 / 30, 25.5 / 30]
    assert fullest([]) == {axis: [0.25, 0.5, 0.75] for axis in range(3)}
    empty = write(tmp_path, np.zeros_like(labels), "none", kind="label")
    assert fullest([[empty]])[1] == [0.25, 0.5, 0.75]
