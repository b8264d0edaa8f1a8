"""Several partners in one run are those of a run each, and their tests are corrected together."""

from __future__ import annotations

import numpy as np
import pytest
from solids import CUBES, scene
from strategies import done, write

import chunkflow_liver as cf
from chunkflow_liver.kernels.significance.permutations import adjusted
from chunkflow_liver.ops.narrowing import tables as parts

FEW = {"permutations": 99, "draws": 50}
PARTS = ("", "-objects", "-spacing", "-lines", "-windows", "-cells", "-tests")


def tables(folder):
    return {p: cf.read_table(folder / f"tables/necks{p}.parquet").to_pydict() for p in PARTS}


def several(folder):
    """The scene with lysosomes in a second cell of ER, as one semantic volume of two classes."""
    labels, er, cells, _ = scene()
    classes = er.astype(np.uint8)
    near = np.roll(labels == 12, 3, axis=1) & (labels == 0) & (er == 0)
    classes[near] = 2
    at = {"kind": "label", "voxel_nm": CUBES}
    return (
        write(folder, labels, "mitos", **at),
        write(folder, classes, "tissue", classes=(("er", 1), ("lysosome", 2)), **at),
        write(folder, cells, "cells", **at),
    )


def test_several_partners_in_one_run_are_those_of_a_run_each(tmp_path):
    mitos, classes, cells = several(tmp_path)
    found = {}
    for name, er, to, others in (
        ("all", classes, ("er", "lysosome"), True),
        ("er", classes, "er", False),
        ("lysosome", classes, ("lysosome",), False),
        ("others", None, "er", True),
    ):
        near = cf.Near(to=to, others=others, window_nm=120, gap_nm=60, **FEW)
        done(cf.narrowing(mitos, er=er, parents=cells, near=near, name="necks", work=tmp_path / name))
        found[name] = tables(tmp_path / name)
    every = found.pop("all")
    assert every["-tests"]["partner"] == [p for p in ("er", "lysosome", "others") for _ in range(3)]
    for i, (name, alone) in enumerate(found.items()):
        for part in ("", "-objects", "-windows", "-lines"):
            for column, values in alone[part].items():
                with_name = f"{name}_{column}" if i else column
                with_name = with_name if with_name in every[part] else column
                np.testing.assert_equal(every[part][with_name], values, f"{name} {part} {column}")
        for part, rows in (("-tests", 3), ("-cells", 2)):
            for column in set(alone[part]) - {"q_value"}:
                np.testing.assert_equal(every[part][column][rows * i : rows * (i + 1)], alone[part][column])
    assert sum(every["-objects"]["lysosome_contact_um2"]) > 0


def test_contact_with_others_is_that_of_contacts(tmp_path):
    """The surface of each object within 400 nm of any other one."""
    mitos, _, _ = several(tmp_path)
    near = cf.Near(others=True, gap_nm=400, window_nm=120, **FEW)
    done(cf.narrowing(mitos, near=near, name="necks", work=tmp_path / "w"))
    done(cf.contacts(mitos, mitos, gap_nm=400, name="c", work=tmp_path / "w"))
    objects = tables(tmp_path / "w")["-objects"]
    contacts = cf.read_table(tmp_path / "w/tables/c-objects.parquet").to_pydict()
    wanted = {
        n: a
        for s, n, a in zip(*(contacts[k] for k in ("side", "label", "contact_um2")), strict=True)
        if s == "a"
    }
    assert sum(wanted.values()) > 0
    assert objects["contact_um2"] == pytest.approx([wanted[n] for n in objects["label"]])


def test_several_partners_are_corrected_together():
    """Nine p-values: of three partners and three tests."""
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(1, 41), 4).astype(np.uint64)
    narrow = np.tile([True, False, False, False], 40)
    contact = rng.random((160, 3)) + narrow[:, None] * [0.8, 0.2, 0.0]
    windows = {
        "label": label,
        "cell": 0 * label,
        "branch": 0 * label,
        "position_nm": rng.random(160),
        "narrow": narrow,
        "tested": np.ones(160, bool),
        "area_um2": np.ones(160),
        "contact_um2": contact,
    }
    record = {f"window/{n}": c for n, c in windows.items()}
    near = cf.Near(permutations=999, draws=10)
    found = parts._tests(iter([(0, record)]), near=near, partners=["a", "b", "c"])
    p = found["p_value"]
    assert np.isfinite(p[[0, 3, 6]]).all()
    assert p[0] < 0.01 < p[6]
    np.testing.assert_allclose(found["q_value"], adjusted(p))
