"""Thin pieces are joined to the cell that their chain leads to; gaps, conflicts and leftovers are told."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from strategies import done, most_resident, resumed_equals_whole, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.kernels.phantom.tissue import Tissue, planes

pytest.importorskip("cv2", reason="needs the extra 'cells'")
VOXEL_NM = (25.0, 8.0, 8.0)
PIXEL = 0.008**2


def tables(plan):
    return {
        dict(p.about)["rows"]: cf.read_table(p.handle).to_pydict() for p in plan.products if "table" in p.kind
    }


def joined(folder, cells, interior, **options):
    given = [
        write(folder, a, n, voxel_nm=VOXEL_NM, **k)
        for n, a, k in (("cells", cells, {"kind": "label"}), ("interior", interior, {}))
    ]
    plan = cf.protrusions(
        *given, **{"name": "whole", "work": folder / "work", "max_area_um2": 40 * PIXEL} | options
    )
    return done(plan).read(), tables(plan)


def by_hand():
    """Two cells, a thread of 4 x 4 pixels that leaves the first one, loses slice 4 and ends in slice 6."""
    cells = np.zeros((8, 30, 60), np.uint16)
    cells[:, 2:28, 2:14], cells[:, 2:28, 46:58] = 5, 9
    interior = np.where(cells > 0, 255, 0).astype(np.uint8)
    for z in (1, 2, 3, 5, 6):
        interior[z, 10:14, 10 + 3 * z : 14 + 3 * z] = 255  # in slice 1 it touches the cell
    interior[:, 20:24, 30:34] = 255  # a thread that meets nobody
    cells[1, 10:14, 13:17] = 5
    return cells, interior


def test_a_thread_is_followed_over_a_gap_to_its_cell_and_leftovers_are_listed(tmp_path):
    cells, interior = by_hand()
    # Between slices 3 and 5 it moves by 6 pixels: only its tail meets; so a wider piece there.
    interior[3, 10:14, 19:27] = 255
    found, rows = joined(tmp_path, cells, interior)
    wanted = cells.copy()
    thread = (interior > 0) & (cells == 0)
    thread[:, 20:24, 30:34] = False
    wanted[thread] = 5
    np.testing.assert_array_equal(found, wanted)
    told = rows["attachments"]
    left = [i for i, label in enumerate(told["label"]) if label == 0]
    assert [told["slice"][i] for i in left] == list(range(8))
    assert {told["reason"][i] for i in left} == {"its chain ends in no cell"}
    own = [i for i, label in enumerate(told["label"]) if label == 5]
    assert [told["slice"][i] for i in own] == [2, 3, 5, 6]
    assert told["area_um2"][own[0]] == pytest.approx(16 * PIXEL)
    assert told["centroid_y_nm"][own[0]] == pytest.approx(12 * 8)
    assert not rows["conflicts"]["slice"]
    apart, _ = joined(tmp_path / "gapless", cells, interior, gap=0)
    assert not apart[5:7][thread[5:7]].any()


def test_a_piece_without_overlap_is_linked_to_the_nearest_within_the_window(tmp_path):
    cells = np.zeros((2, 20, 40), np.uint8)
    cells[0, 5:15, 2:12] = 3
    interior = np.where(cells > 0, 255, 0).astype(np.uint8)
    interior[1, 8:11, 16:19] = 255  # 5 pixels of 8 nm from the cell
    near, rows = joined(tmp_path / "near", cells, interior, window_nm=40)
    assert set(near[1, 8:11, 16:19].ravel()) == {3}
    assert rows["attachments"]["reason"] == ["near"]
    far, rows = joined(tmp_path / "far", cells, interior, window_nm=39)
    assert not far[1].any()
    assert rows["attachments"]["reason"] == ["overlaps nothing"]


def test_two_cells_that_claim_a_thread_are_told(tmp_path):
    """A thread from cell 5 to cell 9; its pieces overlap by half, but by a quarter where it is parted."""
    cells = np.zeros((6, 20, 40), np.uint16)
    cells[0, 5:15, 0:8], cells[5, 5:15, 22:30] = 5, 9
    interior = np.where(cells > 0, 255, 0).astype(np.uint8)
    starts = {1: 6, 2: 10, 3: 16, 4: 20}
    for z, x in starts.items():
        interior[z, 8:12, x : x + 8] = 255
    found, rows = joined(tmp_path, cells, interior)
    assert [int(found[z, 9, x + 4]) for z, x in starts.items()] == [5, 5, 9, 9]
    told = rows["conflicts"]
    assert (told["slice"], told["to_slice"], told["label"], told["to_label"]) == ([2], [3], [5], [9])
    assert told["strength"] == [pytest.approx(0.25)]
    assert told["shared_um2"] == [pytest.approx(8 * PIXEL)]


def test_what_is_larger_than_a_protrusion_is_listed_and_left(tmp_path):
    cells = np.zeros((2, 20, 40), np.uint8)
    cells[0] = 2
    interior = np.full(cells.shape, 255, np.uint8)
    found, rows = joined(tmp_path, cells, interior)
    np.testing.assert_array_equal(found, cells)
    assert rows["attachments"]["reason"] == ["larger than a protrusion"]


@pytest.mark.parametrize("place", [slice(14, 28), slice(19, 33)])
def test_what_is_larger_than_a_protrusion_hides_no_cell(place, tmp_path):
    """A piece, a cell 5 pixels before it, and something large that lies over the piece, or nearer."""
    cells = np.zeros((2, 20, 40), np.uint8)
    cells[0, 5:15, 2:12] = 3
    interior = np.where(cells > 0, 255, 0).astype(np.uint8)
    interior[0, 4:16, place] = interior[1, 8:11, 16:19] = 255
    found, rows = joined(tmp_path, cells, interior, window_nm=40)
    assert set(found[1, 8:11, 16:19].ravel()) == {3}
    assert rows["attachments"]["reason"] == ["larger than a protrusion", "near"]


def stack():
    found = Tissue((40, 144, 176), VOXEL_NM, 3, cells=6, protrusions=8, late=0.0, drift=1.0)
    return [np.stack(a) for a in zip(*planes(found), strict=True)]


def test_protrusions_of_tissue_go_to_their_cells(tmp_path):
    """Bodies are given, thin pieces are to be found: every piece apart from a body counts."""
    _, interior, _, truth, thread = stack()
    cells = np.where(thread > 0, 0, truth).astype(np.uint16)
    found, _ = joined(tmp_path, cells, interior, max_area_um2=0.05, min_area_um2=4 * PIXEL, gap=2)
    right = wrong = lost = 0
    for z in range(len(truth)):
        pieces, n = ndimage.label((interior[z] > 0) & (cells[z] == 0) & (thread[z] > 0), np.ones((3, 3)))
        for i in range(1, n + 1):
            own = pieces == i
            if own.sum() < 12:
                continue
            got, true = (int(np.bincount(a[z][own]).argmax()) for a in (found, thread))
            right, wrong, lost = right + (got == true), wrong + (got not in (0, true)), lost + (got == 0)
    assert right > 30
    assert right / (right + wrong) >= 0.95
    assert right / (right + wrong + lost) >= 0.95


def test_protrusions_do_not_depend_on_the_grid(tmp_path):
    _, interior, _, truth, thread = (a[:14, :96, :96] for a in stack())
    cells = np.where(thread > 0, 0, truth).astype(np.uint16)
    how = {"max_area_um2": 0.05, "window_nm": 60, "gap": 2}
    results = [joined(tmp_path / str(d), cells, interior, block=(d, 96, 96), **how) for d in (1, 3, 14)]
    for found, rows in results[1:]:
        np.testing.assert_array_equal(found, results[0][0])
        assert str(rows) == str(results[0][1])


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    cells, interior = by_hand()
    given = (
        write(tmp_path, cells, "cells", kind="label"),
        write(tmp_path, interior, "interior", voxel_nm=(4, 8, 16)),
    )
    square = [
        write(tmp_path, a, n, voxel_nm=VOXEL_NM, **k)
        for n, a, k in (("c", cells, {"kind": "label"}), ("i", interior, {}))
    ]

    def plan(work):
        return cf.protrusions(*square, name="whole", work=work, block=(3, 30, 60))

    resumed_equals_whole(plan, tmp_path / "first", "whole/pieces", 1)
    resumed_equals_whole(plan, tmp_path / "second", "whole/apply", 1)
    with pytest.raises(InputError, match="protrusions need square ones"):
        cf.protrusions(*given, name="whole", work=tmp_path / "work")


def test_memory_is_that_of_slices(tmp_path):
    _, interior, _, truth, thread = (np.tile(a[:8], (1, 3, 3)) for a in stack())
    cells = np.where(thread > 0, 0, truth).astype(np.uint16)
    given = [
        write(tmp_path, a, n, voxel_nm=VOXEL_NM, **k)
        for n, a, k in (("cells", cells, {"kind": "label"}), ("interior", interior, {}))
    ]
    stage = cf.protrusions(*given, name="whole", work=tmp_path / "work").maps[0]

    def one() -> None:
        for _ in stage.function(stage.grid[0], *stage.inputs, **stage.params):
            pass

    assert most_resident(one) <= stage.resident


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"max_area_um2": 0}, "pieces have areas from 0 or more up to more"),
        ({"min_area_um2": 2}, "pieces have areas from 0 or more up to more, got 2 to 1 um2"),
        ({"min_area_um2": -1}, "an area must be 0 or more, got -1"),
        ({"window_nm": -1}, "window_nm must be 0 or more, got -1"),
        ({"gap": -1}, "gap is a number of slices, 0 or more, got -1"),
        ({"threshold": 0}, "threshold is a share above 0 and up to 1, got 0"),
    ],
)
def test_what_cannot_be_used_is_refused(change, says, tmp_path, listing):
    cells, interior = by_hand()
    given = [
        write(tmp_path, a, n, voxel_nm=VOXEL_NM, **k)
        for n, a, k in (("cells", cells, {"kind": "label"}), ("interior", interior, {}))
    ]
    before = listing()
    with pytest.raises(ConfigError, match=says):
        cf.protrusions(*given, **{"name": "whole", "work": tmp_path / "work"} | change)
    assert listing() == before
