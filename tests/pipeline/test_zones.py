"""Zones of a run file: what the operations give, names that do not fit, the example, and the page."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_files import planned
from strategies import done, write

import chunkflow_liver as cf
from chunkflow_liver.config import parse, read_run_file
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.images.downsample import mode
from chunkflow_liver.reports.sections.zones import zonations
from chunkflow_liver.reports.sections.zones.planes import zoned
from chunkflow_liver.reports.words import THIN, number, percent
from chunkflow_liver.reports.work import read_work
from chunkflow_liver.store.create import create, finish, new_volume

NM = (16.0, 16.0, 16.0)
CLASSES = [("mitochondrion", 1), ("cytoplasm", 2), ("bile", 3), ("portal", 4), ("central", 5)]


def two_levels(folder, classes):
    """Classes with a second level, although they are small."""
    volume = new_volume(f"{folder}/classes.ome.zarr", classes.shape, "uint8", voxel_nm=NM, kind="label")
    volume = replace(volume, levels=2, classes=tuple(CLASSES))
    create(volume)
    fine, coarse = volume.pyramid()
    fine.write(fine.box, classes)
    coarse.write(coarse.box, mode(classes, coarse.reduction))
    finish(volume)


def lobule_in(folder):
    """12 cells in two rows between a portal vessel on the left and a central one on the right.

    A canaliculus runs between the rows; each cell has 5 mitochondria, which are longer towards central.
    """
    classes = np.full((6, 25, 76), 2, np.uint8)
    classes[..., :2], classes[..., -2:] = 4, 5
    classes[:, 12, 2:-2] = 3
    cells = np.zeros(classes.shape, np.uint32)
    for k in range(6):
        x = slice(2 + 12 * k, 14 + 12 * k)
        cells[:, :12, x], cells[:, 13:, x] = 1 + k, 7 + k
        for row in (0, 13):
            for i in range(5):
                classes[2:4, row + 1 + 2 * i, 3 + 12 * k : 5 + 12 * k + k + (i + row) % 2] = 1
    write(folder, (classes * 40).astype(np.uint8), "raw", kind="image", voxel_nm=NM)
    two_levels(folder, classes)
    write(folder, cells, "cells", kind="label", voxel_nm=NM)
    inside = ["mitochondrion", "cytoplasm", "bile"]
    return {
        "input": {"path": "raw.ome.zarr"},
        "work": "work",
        "block": [6, 16, 32],
        "semantic": {"path": "classes.ome.zarr"},
        "existing": [{"name": "cells", "path": "cells.ome.zarr"}],
        "label": [{"name": "mitos", "classes": ["mitochondrion"]}],
        "distance": [{"name": "to-portal", "to": "portal", "cap_nm": None}],
        "geodesic": [
            {"name": "to-central", "to": "central", "inside": inside},
            {"name": "to-bile", "to": "bile", "instances": "cells"},
            {"name": "to-portal-side", "to": "portal", "inside": inside},
        ],
        "domains": [{"name": "faces", "instances": "cells", "to": ["bile", "portal", "central"]}],
        "duct": [
            {
                "name": "vessel",
                "instances": "cells",
                "lumen": "bile",
                "along": "to-central",
                "away": "to-bile",
                "step_nm": 160,
            }
        ],
        "fenestrae": [{"name": "holes", "lumen": "portal", "wall": "cytoplasm", "limits_nm": [10, 200]}],
        "measure": [{"name": "form", "instances": "mitos", "parents": "cells", "features": ["basic"]}],
        "zonation": [
            {
                "name": "lobule",
                "instances": "cells",
                "maps": ["to-portal", "to-central"],
                "ends": ["portal", "central"],
                "tables": ["form"],
                "cell": "parent",
                "columns": ["voxels", "volume_um3"],
            },
            {
                "name": "polarity",
                "instances": "mitos",
                "maps": ["to-bile", "to-portal-side"],
                "tables": ["form"],
                "cell": "parent",
                "trend": "within",
                "columns": ["volume_um3"],
            },
        ],
    }


@pytest.fixture(scope="module")
def lobule(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lobule")
    done(planned(folder, lobule_in(folder)))
    return folder


def test_a_run_file_gives_what_the_operations_give(lobule):
    work = lobule / "work"
    cells = cf.open_volume(lobule / "cells.ome.zarr")
    maps = [cf.open_volume(work / f"{name}.ome.zarr") for name in ("to-portal", "to-central")]
    by_hand = cf.zonation(
        cells,
        maps,
        ends=("portal", "central"),
        tables=work / "tables/form.parquet",
        cell="parent",
        columns=("voxels", "volume_um3"),
        name="lobule",
        work=lobule / "hand",
    )
    done(by_hand)
    for end in ("", "-trends", "-zones", "-objects"):
        found, hand = (
            cf.read_table(lobule / f"{w}/tables/lobule{end}.parquet").to_pandas() for w in ("work", "hand")
        )
        assert found.equals(hand), end


def test_cells_stand_in_their_order_and_mitochondria_grow_along_it(lobule):
    found = cf.read_table(lobule / "work/tables/lobule.parquet").to_pandas()
    assert found["zone"].tolist() == [1, 1, 2, 2, 3, 3] * 2
    # Straight to portal: the voxels of cell k are 12 k + 1 .. 12 k + 12 steps away.
    np.testing.assert_allclose(found["portal_nm"], [16 * (12 * k + 6.5) for k in range(6)] * 2, rtol=1e-3)
    trend = cf.read_table(lobule / "work/tables/lobule-trends.parquet").to_pandas().set_index("column")
    # 5 voxels more over 60 of 72 voxels between the vessels, of 2 voxels each.
    assert trend.loc["voxels", "cells"] == 12
    assert trend.loc["voxels", "slope_low"] < 2 * 5 * 73 / 60 < trend.loc["voxels", "slope_high"]
    assert trend.loc["voxels", "q_value"] < 0.01


def test_the_page_says_where_cells_lie_and_what_changes(lobule):
    told = zonations(read_work(lobule / "work"))
    assert [t.name for t in told] == ["lobule", "polarity", "faces", "vessel", "holes"]
    faced = cf.read_table(lobule / "work/tables/faces.parquet").to_pandas()
    # The canaliculus meets the portal vessel: 6 voxels of 16 x 16 nm.
    holes = cf.read_table(lobule / "work/tables/holes.parquet").to_pydict()
    assert holes["area_um2"] == pytest.approx([6 * 256 / 1e6])
    assert holes["kind"] == ["fenestra"]
    assert holes["touches_border"] == [True]
    assert "has 0 fenestrae of 10 to 200" in told[4].sentences[0]
    assert told[3].sentences[0] == "Around the bile lie 12 cells."
    assert [f.title for f in told[3].figures] == ["Along the duct"]
    share = faced["bile_um2"].sum() / faced["surface_um2"].sum()
    assert f"They face {percent(share)} bile," in told[2].sentences[1]
    assert told[0].sentences[0] == "12 of 12 cells have a position from 0 (portal) to 1 (central)."
    assert told[0].sentences[1] == "Of these 4 in zone 1, 4 in zone 2, 4 in zone 3."
    assert any("2 of 2 columns change along it" in s for s in told[0].sentences)
    assert [f.title for f in told[0].figures] == ["Positions", "Tissue by zone", "Means of zones"]
    assert [name for name, _ in told[0].figures[1].legend] == ["no zone", "zone 1", "zone 2", "zone 3"]
    assert all(f.svg for t in told for f in t.figures)
    page = cf.report(lobule / "work").read_text()
    assert '<section id="zones">' in page
    assert "lobule-trends" in page
    assert not any(t.missing for t in told)
    assert [s.name for s in told[1].tables] == [
        "polarity: in short",
        "polarity",
        "polarity-trends",
        "polarity-zones",
    ]


def test_the_picture_of_zones_is_of_the_cells_of_the_tables(lobule):
    places = cf.read_table(lobule / "work/tables/lobule.parquet").to_pydict()
    label, zone = np.array(places["label"]), np.array(places["zone"])
    shown, pixel_um = zoned(read_work(lobule / "work"), "cells", label[::-1], zone[::-1])
    ids = cf.open_volume(lobule / "cells.ome.zarr").read()[3]
    assert pixel_um == pytest.approx(0.016)
    # Cells begin at 2, 14, .. and are parted by a line from the one before.
    line = np.zeros(ids.shape, bool)
    line[:, 14:74:12] = True
    assert ((shown < 0) == (ids == 0) | line).all()
    for cell, of in zip(label, zone, strict=True):
        assert (shown[(ids == cell) & ~line] == of).all()
    # Of what has no row, or no zone, the tissue is grey; of what the run does not have there is no picture.
    assert set(np.unique(zoned(read_work(lobule / "work"), "cells", label[:1], zone[:1])[0])) == {-1, 0, 1}
    assert zoned(read_work(lobule / "work"), "nuclei", label, zone) is None


@pytest.mark.parametrize("name", ["lobule", "polarity", "faces", "vessel", "holes"])
def test_every_number_of_the_text_stands_in_a_table(lobule, name):
    (made,) = [t for t in zonations(read_work(lobule / "work")) if t.name == name]
    # Levels of tests and intervals, the ends of positions, and below the limits of fenestrae.
    known = {"0", "1", "5", "95"}
    for path in (lobule / "work/tables").glob(f"{name}*.parquet"):
        table = cf.read_table(path).to_pandas()
        known |= {number(len(table))}
        for column in table:
            values = table[column].tolist()
            known |= {number(float(v)) for v in values if isinstance(v, int | float)}
            known |= {number(int(v)) for v in values if isinstance(v, int | float) and float(v).is_integer()}
    known |= {
        cell[0] for shown in made.tables if "in short" in shown.name for row in shown.rows for cell in row
    }
    known |= {"10", "200"}
    power = r"\s×\s10\S*"
    plain = {re.sub(r"[^0-9.,]", "", re.sub(power, "", text)) for text in known}
    words = re.sub(power, "", " ".join(made.sentences + made.caveats)).replace(THIN, " ")
    found = [n.rstrip(".,") for n in re.findall(r"(?<![\w.])\d[\d.,]*", words)]
    assert len(found) > 3
    assert [n for n in found if n not in plain] == []


def test_a_coarser_level_gives_a_coarser_map_on_which_positions_are_told(tmp_path):
    content = lobule_in(tmp_path)
    content["geodesic"] = [content["geodesic"][0] | {"level": 1}]
    content["zonation"], content["duct"] = [content["zonation"][0]], []
    plan = planned(tmp_path, content)
    done(plan)
    found = cf.read_table(tmp_path / "work/tables/lobule.parquet").to_pandas()
    assert found["zone"].tolist() == [1, 1, 2, 2, 3, 3] * 2
    straight = np.array([16 * (72 - 12 * k - 5.5) for k in range(6)] * 2)
    # Voxels are 32 nm: half of one, and paths are up to 5 % longer.
    assert (found["central_nm"] > straight - 32).all()
    assert (found["central_nm"] < 1.1 * straight + 32).all()
    assert cf.report(tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("key", "entry", "says"),
    [
        ("geodesic", {"name": "g", "to": "bile"}, "give either 'inside' .classes. or 'instances'"),
        ("geodesic", {"name": "g", "to": "bone", "inside": "bile"}, "no class 'bone'"),
        ("zonation", {"maps": ["to-portal"]}, "at least 2 items"),
        (
            "zonation",
            {"maps": ["to-portal", "to-moon"]},
            "the map 'to-moon'; under 'distance' and 'geo",
        ),
        ("duct", {"along": "moon"}, "takes the map 'moon'; under 'distance' and 'geodesic' there are"),
        ("zonation", {"tables": ["nothing"]}, "takes the table 'nothing'; before it the run makes"),
    ],
)
def test_entries_that_do_not_fit_are_refused(tmp_path, key, entry, says):
    content = lobule_in(tmp_path)
    content[key] = [content[key][0] | entry] if key != "geodesic" else [entry]
    with pytest.raises(ConfigError, match=says):
        planned(tmp_path, content)


def test_the_example_is_a_run_file():
    found = read_run_file(Path(__file__).parents[2] / "configs/lobule_zones.yaml")
    assert [entry.name for entry in found.zonation] == ["lobule", "polarity"]
    assert parse({"work": "w"}, Path(), "run.yaml").geodesic == ()
