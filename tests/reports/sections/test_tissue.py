"""The page of a run with cells: contours side by side, what was held out, protrusions in colour."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import done, write

import chunkflow_liver as cf
from chunkflow_liver.kernels.phantom.tissue import Tissue, planes

pytest.importorskip("cv2", reason="needs the extra 'cells'")
VOXEL_NM = (25.0, 8.0, 8.0)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tissue")
    found = Tissue((13, 112, 144), VOXEL_NM, 3, cells=4, protrusions=4, late=0.0)
    stack = [np.stack(a) for a in zip(*planes(found), strict=True)]
    painted = np.zeros(stack[3].shape, np.uint16)
    painted[[0, 6, 12]] = stack[3][[0, 6, 12]]
    arrays = {"raw": stack[0], "interior": stack[1], "boundary": stack[2], "painted": painted}
    given = {
        k: write(folder, v, k, voxel_nm=VOXEL_NM, **({"kind": "label"} if k == "painted" else {}))
        for k, v in arrays.items()
    }
    work = folder / "work"
    cells = [
        cf.cells(**maps, mode=m, slices=[0, 12], small_um2=0.05, name=m, work=work)
        for m, maps in (("mask", {k: given[k] for k in ("interior", "painted")}), ("selective", given))
    ]
    whole = cf.protrusions(
        cells[1].output, given["interior"], max_area_um2=0.05, gap=2, name="whole", work=work
    )
    plan = cells[0] + cells[1] + whole
    done(plan)
    return cf.report(plan).read_text(encoding="utf-8")


def test_every_mode_is_shown_side_by_side_on_the_slices_to_look_at(page):
    assert 'href="#cells">Cells in tissue' in page
    for title in ("slice 6: mask", "slice 6: selective"):
        assert page.count(f"<h3>{title}</h3>") == 1
    assert "1 painted slice held out" in page
    assert "Mode selective." in page


def test_protrusions_are_counted_and_cells_are_rendered(page):
    assert "joined to" in page
    assert "protrusions that were joined" in page
    assert "between two cells" in page
    assert "Cells &#39;" not in page  # nothing is missing
