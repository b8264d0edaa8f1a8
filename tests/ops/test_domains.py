"""Surface domains of cells: those of a voxel-by-voxel referee, of contacts, and adding up to the surface."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from brute_areas import voxel_areas
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from strategies import (
    VOXEL_NM,
    blocks,
    contents,
    ends_of,
    mask_of,
    most_resident,
    resumed_equals_whole,
    seeds,
    semantic,
    shapes,
    table,
    write,
)

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError


def whole(cells, classes, gap_nm):
    """Area in um2 that every cell has for each class, a cell (3), or nothing (0): voxel by voxel.

    Of voxels with a cell below 0 nothing is known.
    """
    objects = cells.astype(np.int64)
    objects[objects > 0] += 2
    for number in (1, 2):
        objects[(cells == 0) & (classes == number)] = number
    areas, found = voxel_areas(objects, VOXEL_NM) / 1e6, {}
    others = np.argwhere(objects > 0)
    for at in map(tuple, np.argwhere((cells > 0) & (areas > 0))):
        best = (np.inf, 0)
        for there in others:
            if objects[tuple(there)] != objects[at]:
                apart = np.maximum(np.abs(there - at) - 1, 0) * VOXEL_NM
                best = min(best, (float((apart**2).sum()), int(objects[tuple(there)])))
        kind = min(best[1], 3) if best[0] <= gap_nm**2 * (1 + 1e-9) else 0
        key = (int(cells[at]), kind)
        found[key] = found.get(key, 0.0) + areas[at]
    return found


@settings(max_examples=6, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks, gap_nm=st.sampled_from([0.0, 8.0, 17.0]))
@example(shape=(5, 8, 7), seed=2, block=(4, 3, 3), gap_nm=8.0)
def test_domains_do_not_depend_on_the_grid(shape, seed, block, gap_nm):
    shape = tuple(min(n, 7) for n in shape)
    cells, classes = semantic(shape, seed, 3), semantic(shape, seed + 1, 3)
    with tempfile.TemporaryDirectory() as folder:
        plan = cf.domains(
            write(folder, cells.astype(np.uint32), "cells", kind="label"),
            write(folder, classes),
            to=["er", 2],
            gap_nm=gap_nm,
            name="faces",
            work=f"{folder}/work",
            block=block,
        )
        found = table(plan)
        pairs = cf.read_table(Path(folder, "work", "tables", "faces-neighbours.parquet")).to_pydict()
    wanted = whole(cells, classes, gap_nm)
    assert found["label"] == sorted({label for label, _ in wanted})
    for i, label in enumerate(found["label"]):
        names = ("free", "er", "2", "neighbour")
        areas = [found[f"{name}_um2"][i] for name in names]
        np.testing.assert_allclose(areas, [wanted.get((label, k), 0.0) for k in range(4)], atol=1e-8)
        assert sum(areas) == pytest.approx(found["surface_um2"][i], abs=1e-12)
        assert sum(found[f"{name}_fraction"][i] for name in names) == pytest.approx(1)
        own = [a for a, b in zip(pairs["area_a_um2"], pairs["label_a"], strict=True) if b == label]
        assert sum(own) == pytest.approx(found["neighbour_um2"][i], abs=1e-12)
        assert len(own) == found["neighbours"][i]
        touching = [np.take(cells, [0, -1], a) for a in range(3) if shape[a] > 1]
        assert found["touches_border"][i] == any((t == label).any() for t in touching)


def box_cell():
    """A cell of 4 x 6 x 8 voxels with a canaliculus above, a sinusoid on its right, another cell below."""
    cells, classes = np.zeros((8, 10, 14), np.uint32), np.zeros((8, 10, 14), np.uint8)
    cells[2:6, 2:8, 3:11] = 5
    classes[1, 2:8, 3:11] = 1
    classes[2:6, 2:8, 11] = 2
    cells[6:, 2:8, 3:11] = 9
    return cells, classes


def test_a_sheet_by_hand(tmp_path):
    # Cell 5 goes through the whole volume, so that its two flat sides are its surface: 10 x 14 faces of 8 x
    # 16 nm each. Above are two classes, from y = 5 on the second; below is cell 9 up to x = 6.
    cells, classes = np.zeros((8, 10, 14), np.uint32), np.zeros((8, 10, 14), np.uint8)
    cells[2:6], cells[6:, :, :7] = 5, 9
    classes[:2, :5], classes[:2, 5:] = 1, 2
    own, other = write(tmp_path, cells, "cells", kind="label"), write(tmp_path, classes)
    found = table(cf.domains(own, other, to=("er", "mitochondrion"), name="faces", work=tmp_path / "work"))
    assert found["label"] == [5, 9]
    face = 128 / 1e6
    # Voxels touch by edges, too: row 5 touches both classes and counts for the first, column 7 cell 9.
    wanted = {"surface": 280, "er": 6 * 14, "mitochondrion": 4 * 14, "neighbour": 8 * 10, "free": 6 * 10}
    for name, faces in wanted.items():
        assert found[f"{name}_um2"][0] == pytest.approx(faces * face, rel=1e-6), name
    assert found["neighbours"] == [1, 1]
    assert found["touches_border"] == [True, True]
    schema = cf.read_table(tmp_path / "work/tables/faces.parquet").schema
    assert schema.field("er_um2").metadata[b"unit"] == b"micrometer^2"


def test_areas_are_those_of_contacts(tmp_path):
    cells, classes = box_cell()
    own, other = write(tmp_path, cells, "cells", kind="label"), write(tmp_path, classes)
    at = {"work": tmp_path / "work"}
    found = table(cf.domains(own, other, to=("er",), name="faces", **at))
    touching = table(cf.contacts(own, other, to="er", gap_nm=0, name="bile", **at))
    objects = cf.read_table(tmp_path / "work/tables/bile-objects.parquet").to_pydict()
    # The class is named first, so it has all that is in contact with it.
    assert found["er_um2"][0] == touching["area_a_um2"][0]
    surfaces = dict(zip(objects["label"], objects["surface_um2"], strict=True))
    assert found["surface_um2"] == [surfaces[5], surfaces[9]]


def test_it_goes_on_after_an_interruption(tmp_path):
    def make(work):
        cells, classes = box_cell()
        own, other = write(work.parent, cells, "cells", kind="label"), write(work.parent, classes)
        return cf.domains(own, other, to="er", name="faces", work=work, block=(4, 10, 14))

    (tmp_path / "a/work/results.ome.zarr").mkdir(parents=True)
    (tmp_path / "b/work/results.ome.zarr").mkdir(parents=True)
    resumed_equals_whole(make, tmp_path, "faces/surfaces", 1)


def test_memory_is_what_the_plan_says(tmp_path):
    rng = np.random.default_rng(0)
    shape = (64, 128, 128)
    cells = rng.integers(1, 5, [n // 16 for n in shape]).astype(np.uint32)
    for axis in range(3):
        cells = cells.repeat(16, axis)
    classes = (rng.random(shape) < 0.2).astype(np.uint8)
    cells[classes > 0] = 0
    own, other = write(tmp_path, cells, "cells", kind="label"), write(tmp_path, classes)
    plan = cf.domains(own, other, to=1, gap_nm=10, name="faces", work=tmp_path / "work", block=shape)
    stage = plan.maps[0]
    used = most_resident(lambda: stage.function(stage.grid[0], cells, classes, **stage.params))
    assert used < stage.working * cells.size + stage.resident


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"to": ()}, ConfigError, "classes above 0, each once"),
        ({"to": ("er", 1)}, ConfigError, "classes above 0, each once"),
        ({"to": "er", "gap_nm": -1.0}, ConfigError, "gap_nm must be 0 or more"),
        ({"to": "nucleus"}, InputError, "no class 'nucleus'"),
    ],
)
def test_what_has_no_answer_is_refused(tmp_path, options, error, says):
    cells, classes = box_cell()
    own, other = write(tmp_path, cells, "cells", kind="label"), write(tmp_path, classes)
    with pytest.raises(error, match=re.escape(says)):
        cf.domains(own, other, name="faces", work=tmp_path / "work", **options)
    named = write(tmp_path, classes, "named", kind="label", classes=(("free", 1),))
    with pytest.raises(ConfigError, match="would have the columns of other areas"):
        cf.domains(own, named, to="free", name="faces", work=tmp_path / "work")


@settings(max_examples=4, deadline=None)
@given(shape=shapes, seed=seeds, block=blocks)
@example(shape=(5, 7, 7), seed=4, block=(3, 4, 5))
def test_surfaces_face_what_is_known_alone(shape, seed, block):
    shape = tuple(min(n, 7) for n in shape)
    cells, classes, known = semantic(shape, seed, 3), semantic(shape, seed + 1, 3), mask_of(shape, seed + 2)
    with tempfile.TemporaryDirectory() as folder:
        mask = write(folder, known.astype(np.uint8), "mask", kind="label")
        own = write(folder, cells, "cells", kind="label")
        around = write(folder, classes).within(mask)
        for work, size in (("a", block), ("b", (16, 16, 16))):
            at = {"name": "f", "work": f"{folder}/{work}", "block": size}
            found = table(cf.domains(own, around, to=["er", 2], gap_nm=8.0, **at))
        assert len({repr(contents(Path(folder, w, "tables"))) for w in ("a", "b")}) == 1
    wanted = whole(np.where(known, cells.astype(np.int64), -1), np.where(known, classes, 0), 8.0)
    cut = np.unique(cells[known & (ndimage.binary_dilation(~known) | ends_of(shape))])
    assert found["label"] == sorted({label for label, _ in wanted})
    for i, label in enumerate(found["label"]):
        areas = [found[f"{name}_um2"][i] for name in ("free", "er", "2", "neighbour")]
        np.testing.assert_allclose(areas, [wanted.get((label, k), 0.0) for k in range(4)], atol=1e-8)
        assert found["touches_border"][i] == (label in cut)
