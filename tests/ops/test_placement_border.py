"""Objects that the end of the volume cuts stay there, and no other one is laid there."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import done, write

import chunkflow_liver as cf
from chunkflow_liver.kernels.contacts.placements import symmetries, turns_of


def test_cut_objects_stay_at_the_faces_that_cut_them_and_whole_ones_off_all(tmp_path):
    """Every voxel beside a face is of the class; by the gaps, in steps of 8 nm, where objects are laid."""
    shape = (9, 12, 40)
    own, classes = np.zeros(shape, np.uint32), np.zeros(shape, np.uint8)
    own[0:2, 4:7, 8:10] = 1  # at z = 0: its gap to y = 0 varies, that to z = 0 does not
    own[3:5, 4:7, 20:22] = 2  # whole
    classes[0, :, 30:] = 1  # in the plane that cuts the first
    classes[8] = 3
    at = {"voxel_nm": (8.0, 8.0, 8.0)}
    given = {
        "instances": write(tmp_path, own, "own", kind="label", **at),
        "other": write(tmp_path, classes, **at),
    }
    chance = cf.Chance(gap_nm=0, cap_nm=900, placements=300, region_nm=1000, border=True, draws=2)
    done(cf.placement(**given, to=["er", "lipid"], chance=chance, name="p", work=tmp_path / "w"))
    found = cf.read_table(tmp_path / "w/tables/p-objects.parquet").to_pydict()
    rows = list(zip(found["label"], found["partner"], strict=True))
    low = dict(zip(rows, found["low_nearest_nm"], strict=True))
    high = dict(zip(rows, found["high_nearest_nm"], strict=True))
    # Planes 2 to 7 lie between the first and the class at the other face, always.
    assert low[1, "lipid"] == high[1, "lipid"] == 6 * 8
    # Along the face it is laid anywhere, up to what lies in its plane.
    assert low[1, "er"] < 20 < high[1, "er"]
    # Whole objects never lie in plane 0, from which plane 8 would be 5 or 6 planes off.
    assert high[2, "lipid"] <= 5 * 8
    assert low[2, "lipid"] == 0


@pytest.mark.parametrize(
    ("ends", "many"),
    [
        ([[0, 0], [0, 0], [0, 0]], 24),
        ([[1, 0], [0, 0], [0, 0]], 4),  # about z
        ([[1, 1], [0, 0], [0, 0]], 8),  # and turned round
        ([[1, 0], [0, 1], [0, 0]], 1),
        ([[1, 1], [1, 1], [0, 0]], 4),
    ],
)
def test_rotations_that_leave_an_object_at_its_faces(ends, many):
    """Each carries every end that cuts the object to one that does: counted by hand."""
    ends = np.array(ends, bool)
    found = turns_of(symmetries((8.0, 8.0, 8.0)), ends)
    assert len(found) == many
    for turn in found:
        for axis, side in np.argwhere(ends):
            there = turn @ (np.eye(3)[axis] * (2 * side - 1))
            assert ends[np.abs(there).argmax(), int(there.sum() > 0)]
