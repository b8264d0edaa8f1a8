"""What a block leaves for another is there until its layer is forgotten."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.store.scratch.aside import Aside


def test_arrays_wait_in_a_file_for_each_layer(tmp_path):
    aside = Aside(tmp_path / "waiting")
    aside.put(0, 3, {"starts": np.array([5, 2**32 - 1], np.uint32), "crossing": np.array([True])})
    aside.put(0, 4, {"starts": np.zeros(0, np.uint32)})
    aside.put(1, 9, {"starts": np.array([7], np.uint8)})
    assert aside.get(0, 3, "starts").tolist() == [5, 2**32 - 1]
    assert (aside.get(0, 3, "crossing").tolist(), aside.get(0, 3, "crossing").dtype) == ([True], bool)
    assert aside.get(0, 4, "starts").dtype == np.uint32
    assert [aside.get(0, 3, "own"), aside.get(0, 9, "starts"), aside.get(2, 3, "starts")] == [None] * 3
    aside.forget(1)
    assert aside.get(0, 3, "starts") is None
    assert [p.name for p in aside.folder.iterdir()] == ["1"]
    assert aside.get(1, 9, "starts").tolist() == [7]
