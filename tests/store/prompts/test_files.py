"""Files of prompts: every layout that is read, and every bad row by its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from chunkflow_liver.errors import InputError, OutputError
from chunkflow_liver.store.prompts import Prompt, read_prompts, write_prompts

VOXEL_NM = (50.0, 8.0, 4.0)
LIVER = "b1\t10\t20\t30\t100\t200\t150\t260\n"
BOXED = Prompt("b1", 1025.0, "", 525.0, 1525.0, (1600.0, 400.0, 2080.0, 600.0))


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "name"), [(LIVER, "b1"), (LIVER.removeprefix("b1\t"), "1")], ids=["with name", "without"]
)
def test_both_layouts_of_the_liver_pipeline_are_read(tmp_path: Path, text: str, name: str) -> None:
    found = read_prompts(written(tmp_path, "p.tsv", text), voxel_nm=VOXEL_NM)
    assert found == (Prompt(name, *(getattr(BOXED, f) for f in list(BOXED.__dataclass_fields__)[1:])),)


def test_rows_of_one_object_and_slice_are_one_prompt(tmp_path: Path) -> None:
    text = (
        "object,kind,z,y0,x0,y1,x1,y,x,inside,label\n"
        "a,hepatocyte,3,1,2,5,6,,,,\n"
        "a,hepatocyte,3,,,,,2,3,1,\n"
        "a,hepatocyte,3,,,,,9,9,0,\n"
        "a,hepatocyte,7,,,,,2,3,,\n"
        "\n"
        "b,,0,,,,,,,,12\n"
    )
    found = read_prompts(written(tmp_path, "p.csv", text), voxel_nm=VOXEL_NM)
    assert found == (
        Prompt(
            "a",
            175.0,
            "hepatocyte",
            box_nm=(8.0, 8.0, 40.0, 24.0),
            points_nm=((16.0, 12.0, True), (72.0, 36.0, False)),
        ),
        Prompt("a", 375.0, "hepatocyte", points_nm=((16.0, 12.0, True),)),
        Prompt("b", 25.0, label=12),
    )


@pytest.mark.parametrize("name", ["p.tsv", "p.csv", "p.parquet"])
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    given = (
        BOXED,
        Prompt("c", 25.0, "arteriole", points_nm=((0.1, 1 / 3, True), (7.0, 9.0, False))),
        Prompt("d, e", 25.0, label=3),
    )
    assert read_prompts(write_prompts(given, tmp_path / name)) == given
    with pytest.raises(OutputError, match="exists already"):
        write_prompts(given, tmp_path / name)


def test_empty_cells_of_pandas_are_nothing(tmp_path: Path) -> None:
    rows = [
        {"object": "a", "z_nm": 25.0, "y_nm": 8.0, "x_nm": 8.0},
        {"object": "b", "z_nm": 25.0, "label": 4},
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "p.parquet")
    assert read_prompts(tmp_path / "p.parquet") == (
        Prompt("a", 25.0, points_nm=((8.0, 8.0, True),)),
        Prompt("b", 25.0, label=4),
    )


LARGE = [2**53 + 1, 2**63 + 1]


@pytest.mark.parametrize("name", ["p.tsv", "p.csv", "p.parquet"])
def test_ids_of_64_bits_are_read_and_written_whole(tmp_path: Path, name: str) -> None:
    """A float ends at 2^53, so that 2^53 + 1 would be the mask of another object."""
    frame = pd.DataFrame({"object": ["a", "b"], "z": [3, 4], "label": LARGE})
    if name == "p.parquet":
        frame.to_parquet(tmp_path / name)
    else:
        frame.to_csv(tmp_path / name, index=False, sep="\t" if name == "p.tsv" else ",")
    found = read_prompts(tmp_path / name, voxel_nm=VOXEL_NM)
    assert [prompt.label for prompt in found] == LARGE
    assert read_prompts(write_prompts(found, tmp_path / f"again-{name}")) == found


@pytest.mark.parametrize("label", ["9007199254740992.0", "9.007199254740993e15", 2.0**60])
def test_an_id_that_a_float_may_have_rounded_is_refused(tmp_path: Path, label: Any) -> None:
    frame = pd.DataFrame({"object": ["a"], "z": [3], "label": [label]})
    frame.to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(
        InputError, match=r"line 2.*'label' is .*, which may have been rounded; write a whole"
    ):
        read_prompts(tmp_path / "p.csv", voxel_nm=VOXEL_NM)
    pd.DataFrame({"object": ["a"], "z": [3], "label": [12.0]}).to_csv(tmp_path / "q.csv", index=False)
    assert read_prompts(tmp_path / "q.csv", voxel_nm=VOXEL_NM)[0].label == 12


def test_layers_of_napari_are_read(tmp_path: Path) -> None:
    points = "index,axis-0,axis-1,axis-2\n0,3.2,10,20\n1,4,1,2\n"
    assert read_prompts(written(tmp_path, "points.csv", points), voxel_nm=VOXEL_NM) == (
        Prompt("0", 175.0, points_nm=((84.0, 82.0, True),)),
        Prompt("1", 225.0, points_nm=((12.0, 10.0, True),)),
    )
    corners = [(1, 2), (1, 8), (5, 8), (5, 2)]
    shapes = "index,shape-type,vertex-index,axis-0,axis-1,axis-2\n" + "".join(
        f"0,rectangle,{i},6.0,{y},{x}\n" for i, (y, x) in enumerate(corners)
    )
    assert read_prompts(written(tmp_path, "shapes.csv", shapes), voxel_nm=VOXEL_NM) == (
        Prompt("0", 325.0, box_nm=(12.0, 10.0, 44.0, 34.0)),
    )


HEAD = "object,z,start,end,y0,x0,y1,x1,y,x,inside,label\n"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("a,3,,,1,2,5,6,,,", "line 2: 11 fields where the first line names 12"),
        ("a,three,,,1,2,5,6,,,,", "'z' is 'three', which is no number"),
        ("a,3.5,,,1,2,5,6,,,,", "slices are whole numbers"),
        ("a,inf,,,1,2,5,6,,,,", "wanted a finite number"),
        (",3,,,1,2,5,6,,,,", "the object has no name"),
        ("a,,,,1,2,5,6,,,,", "no slice"),
        ("a,3,,,1,2,5,,,,,", "a box needs all of"),
        ("a,3,,,,,,,4,,,", "a point needs y and x"),
        ("a,3,,,,,,,4,4,2,", "'inside' is 2; wanted 1 or 0"),
        ("a,3,,,,,,,-4,4,1,", "a place is negative"),
        ("a,3,5,,1,2,5,6,,,,", "start 275 nm lies after the slice"),
        ("a,3,,1,1,2,5,6,,,,", "end 75 nm lies before the slice"),
        ("a,3,,,5,2,5,6,,,,", "the box is empty"),
        ("a,3,,,,,,,,,,0", "label 0 is no object"),
        ("a,3,,,,,,,,,,1.5", "'label' is 1.5; wanted a whole number"),
        ("a,3,,,,,,,,,,", "neither box, nor point, nor label"),
        ("a,3,,,1,2,5,6,,,,4", "a mask stands alone"),
        ("a,3,,,1,2,5,6,,,,\na,3,,,1,2,5,7,,,,", "line 3: 'a' has a second box"),
        ("a,3,,,1,2,5,6,,,,\na,3,,,,,,,,,,3", "line 3: 'a' has a mask and more"),
        ("a,3,2,,1,2,5,6,,,,\na,4,3,,1,2,5,7,,,,", "has another kind, start or end"),
        ("a,3,,,,,,,4,4,0,", "only points outside of it"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_prompts(written(tmp_path, "p.csv", HEAD + row), voxel_nm=VOXEL_NM)


def test_every_bad_row_is_named_at_once(tmp_path: Path) -> None:
    text = HEAD + "a,x,,,1,2,5,6,,,,\nb,3,,,1,2,5,6,,,,\nc,3,,,5,2,5,6,,,,\n"
    with pytest.raises(InputError, match=r"2 bad row\(s\): line 2: .*; line 4: "):
        read_prompts(written(tmp_path, "p.csv", text), voxel_nm=VOXEL_NM)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("p.txt", "a", "wanted .tsv, .csv, .parquet"),
        ("p.csv", "", "is empty"),
        ("p.csv", "a,b\n", "the first line is"),
        ("p.tsv", LIVER + "b2\t1\n", "line 2: 2 fields where the first line has 8"),
        ("p.tsv", LIVER.replace("150", ""), "a field is empty"),
        ("p.csv", HEAD, "holds no prompt"),
        ("p.csv", "object,z,width\na,1,2\n", r"has columns \['width'\]"),
        ("p.csv", b"\xff\xfe\x00", "no text in UTF-8"),
        ("p.parquet", "no", "not readable as Parquet"),
        ("p.csv", "index,shape-type,vertex-index,axis-0,axis-1,axis-2\n0,line,0,1,1,1\n", "has no inside"),
        (
            "p.csv",
            "index,shape-type,vertex-index,axis-0,axis-1,axis-2\n0,polygon,0,1,1,1\n0,polygon,1,2,4,4\n",
            "on several slices",
        ),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, name: str, content: Any, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=says):
        read_prompts(path, voxel_nm=VOXEL_NM)


def test_voxels_need_a_level(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="say of which level"):
        read_prompts(written(tmp_path, "p.tsv", LIVER))
    with pytest.raises(InputError, match="there is no file of prompts"):
        read_prompts(tmp_path / "absent.csv")
