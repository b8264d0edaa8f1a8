"""Skeletons become prompts in the image's own voxels."""

from __future__ import annotations

from pathlib import Path

import pytest

from chunkflow_liver.errors import InputError
from chunkflow_liver.store.prompts import Prompt, prompts_from_skeletons

VOXEL_NM, SHAPE = (50.0, 16.0, 16.0), (100, 200, 300)
SWC = """# id type x y z radius parent
1 0 1.6 0.8 1.01 1 -1
2 0 1.7 0.9 2.02 1 1
3 0 1.8 0.9 2.04 1 2
4 0 2.0 1.0 4.99 1 3
"""


def skeleton(folder: Path, text: str = SWC, name: str = "d1.swc") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_nodes_of_the_middle_slice_are_points(tmp_path: Path) -> None:
    # By hand: 1.01 um is slice 20, 2.02 and 2.04 um are slice 40, 4.99 um is slice 99.
    found = prompts_from_skeletons(skeleton(tmp_path), voxel_nm=VOXEL_NM, shape=SHAPE, kind="bile duct")
    assert found == (
        Prompt(
            "d1",
            2025.0,
            "bile duct",
            1025.0,
            4975.0,
            points_nm=((900.0, 1700.0, True), (900.0, 1800.0, True)),
        ),
    )


def test_unit_scale_and_slices_are_stated(tmp_path: Path) -> None:
    skeleton(tmp_path)
    found = prompts_from_skeletons(tmp_path, voxel_nm=VOXEL_NM, shape=SHAPE, scale=0.5, slices=9)
    assert [p.z_nm for p in found] == [525.0, 1025.0, 2475.0]
    assert found[0].points_nm == ((400.0, 800.0, True),)


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("1 0 1 2\n", {}, "line 1: 4 fields"),
        (
            "1 0 a 2 3 1 -1\n2 0 nan 1 1 1 1\n",
            {},
            r"2 bad row\(s\): line 1.*line 2: a coordinate is not finite",
        ),
        ("# nothing\n", {}, "holds no node"),
        (SWC, {"unit": "mm"}, "is the unit right"),
        (SWC, {"unit": "pixel"}, "unit is one of"),
        (SWC, {"scale": 0.0}, "scale is a number above 0"),
        (SWC, {"slices": 0}, "slices is 1 or more"),
    ],
)
def test_bad_skeletons_are_refused(tmp_path: Path, text: str, options: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        prompts_from_skeletons(
            skeleton(tmp_path, text),
            voxel_nm=VOXEL_NM,
            shape=SHAPE,
            **options,  # type: ignore[arg-type]
        )


def test_names_and_files_must_be_there_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no skeleton"):
        prompts_from_skeletons(tmp_path, voxel_nm=VOXEL_NM, shape=SHAPE)
    one = skeleton(tmp_path)
    (tmp_path / "b").mkdir()
    other = skeleton(tmp_path / "b")
    with pytest.raises(InputError, match=r"several skeletons are called \['d1'\]"):
        prompts_from_skeletons([one, other], voxel_nm=VOXEL_NM, shape=SHAPE)
