"""Error bars from scores: of every object, pair and neck its own, in any blocks, with their source told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtr
from strategies import done, resumed_equals_whole, table, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.kernels.centreline.sections import pitch_nm
from chunkflow_liver.kernels.significance.boundaries import Z
from chunkflow_liver.store.table import read_table

VOXEL_NM = (8.0, 8.0, 8.0)
SHAPE = (30, 40, 76)


def depths():
    """Signed depths of two bodies beside a plate, in nm: one is blurred by 4 nm, the other by 9."""
    z, y, x = np.meshgrid(*[(np.arange(n) + 0.5) * 8.0 for n in SHAPE], indexing="ij")
    balls = [80 - np.sqrt((z - 120) ** 2 + (y - 130) ** 2 + (x - at) ** 2) for at in (150, 450)]
    return balls, y - 240


def images(folder):
    balls, plate = depths()
    labels = (balls[0] > 0) * 3 + (balls[1] > 0) * 5
    scores = np.where(balls[0] > balls[1], ndtr(balls[0] / 4), ndtr(balls[1] / 9))
    at = {"voxel_nm": VOXEL_NM}
    return {
        "instances": write(folder, labels.astype(np.uint32), "mitos", kind="label", **at),
        "other": write(folder, (plate > 0).astype(np.uint8), **at),
        "scores": write(folder, np.rint(255 * scores).astype(np.uint8), "mito-score", **at),
        "partner_scores": write(folder, ndtr(plate / 8).astype(np.float32), "er-score", **at),
    }


def contacts(given, work, **more):
    return cf.contacts(**given, to="er", gap_nm=40, name="c", work=work, **more)


def test_every_pair_has_the_errors_of_its_own_boundaries(tmp_path):
    found = table(contacts(images(tmp_path), tmp_path / "w"))
    assert found["label_a"] == [3, 5]
    assert found["boundary_a_nm"] == [pytest.approx(4, rel=0.05), pytest.approx(9, rel=0.05)]
    assert found["boundary_b_nm"] == [pytest.approx(8, rel=0.02)] * 2
    assert found["boundary_a_source"] == found["boundary_b_source"] == ["scores"] * 2
    assert found["boundary_a_capped_fraction"][0] == 0
    for row in range(2):
        off = Z * np.hypot(found["boundary_a_nm"][row], found["boundary_b_nm"][row])
        assert found["gap_min_high_nm"][row] == pytest.approx(found["gap_min_nm"][row] + off)
    objects = cf.read_table(tmp_path / "w/tables/c-objects.parquet").to_pydict()
    assert objects["boundary_nm"][:2] == found["boundary_a_nm"]
    assert objects["partner_boundary_nm"][2] == pytest.approx((np.mean([4**2, 9**2])) ** 0.5, rel=0.15)
    wide = np.subtract(found["gap_min_high_nm"], found["gap_min_nm"])
    assert wide[0] < wide[1]


def test_ends_are_those_of_shifted_gaps(tmp_path):
    given = images(tmp_path)
    found = table(contacts(given, tmp_path / "w"))
    bare = {name: given[name] for name in ("instances", "other")}
    for row in range(2):
        off = Z * np.hypot(found["boundary_a_nm"][row], found["boundary_b_nm"][row])
        for end, gap in (("low", 40 - off), ("high", 40 + off)):
            shifted = table(cf.contacts(**bare, to="er", gap_nm=gap, name="c", work=tmp_path / f"{end}{row}"))
            areas = dict(zip(shifted["label_a"], shifted["area_a_um2"], strict=True))
            assert found[f"area_a_{end}_um2"][row] == areas.get(found["label_a"][row], 0)


def test_errors_that_are_alike_over_a_length_are_averaged_over_areas_alone(tmp_path):
    given = images(tmp_path)
    whole = table(contacts(given, tmp_path / "whole"))
    some = table(contacts(given, tmp_path / "some", boundary=cf.Boundary(correlation_nm=20)))
    assert some["gap_min_low_nm"] == whole["gap_min_low_nm"]
    assert some["area_a_high_um2"][1] < whole["area_a_high_um2"][1]


@pytest.mark.parametrize("block", [(13, 17, 21), (30, 9, 40)])
def test_blocks_do_not_matter(block, tmp_path):
    given = images(tmp_path)
    two = [
        given["scores"],
        write(tmp_path, given["scores"].read() > 140, "fold-1", kind="label", voxel_nm=VOXEL_NM),
    ]
    for number, scores in enumerate((given["scores"], two)):
        works = [tmp_path / f"{name}{number}" for name in ("whole", "cut")]
        for work, blocks in zip(works, (None, block), strict=True):
            at = {"work": work, "block": blocks, "scores": scores}
            done(cf.contacts(**given | at, to="er", gap_nm=40, name="c"))
            done(cf.measure(given["instances"], features=["surface"], name="m", **at))
            done(cf.narrowing(given["instances"], name="n", **at))
        for name in ("c", "c-objects", "m", "n"):
            one, other = (Path(work) / f"tables/{name}.parquet" for work in works)
            assert one.read_bytes() == other.read_bytes(), name


def test_a_broken_run_goes_on_to_the_same_bytes(tmp_path):
    given = images(tmp_path)
    resumed_equals_whole(lambda work: contacts(given, work, block=(13, 40, 40)), tmp_path, "c/contacts", 1)


def test_what_a_mask_hides_says_nothing(tmp_path):
    """With the half of the plate that faces the second body unknown, only the first has a partner."""
    given = images(tmp_path)
    known = np.ones(SHAPE, np.uint8)
    known[:, :, 40:] = 0
    seen = write(tmp_path, known, "known", kind="label", voxel_nm=VOXEL_NM)
    given["instances"] = given["instances"].within(seen)
    found = table(contacts(given, tmp_path / "w"))
    assert found["label_a"] == [3]
    assert found["boundary_a_nm"] == [pytest.approx(4, rel=0.05)]


def test_sources_go_before_each_other_and_are_told(tmp_path):
    given = images(tmp_path)
    folds = [given["scores"], write(tmp_path, given["scores"].read(), "fold-1", voxel_nm=VOXEL_NM)]
    none = {"scores": None, "partner_scores": None}
    for number, (more, sources) in enumerate(
        (
            ({}, ("scores", "scores")),
            ({"scores": folds}, ("folds", "scores")),
            ({"partner_scores": None}, ("scores", "half a voxel")),
            (none, ("half a voxel", "half a voxel")),
            ({"boundary": cf.Boundary(boundary_nm=5)}, ("calibration", "calibration")),
            ({"boundary": cf.Boundary(partner_nm=5)}, ("scores", "calibration")),
        )
    ):
        plan = contacts(given | more, tmp_path / f"w{number}")
        found = table(plan)
        stated = read_table(plan.output).schema.metadata[b"chunkflow_liver"].decode()
        for side, source in zip("ab", sources, strict=True):
            assert f'"boundary_{side}_source": "{source}"' in stated
            if "boundary_a_source" in found:
                assert found[f"boundary_{side}_source"] == [source] * 2
        # Calibration alone, or half a voxel alone, is one number for all, as before.
        assert ("boundary_a_source" in found) == bool({"scores", "folds"} & set(sources))
    assert found["boundary_b_nm"] == [5, 5]


def test_two_folds_that_agree_say_what_one_says(tmp_path):
    given = images(tmp_path)
    one = table(contacts(given, tmp_path / "one"))
    given["scores"] = [given["scores"], write(tmp_path, given["scores"].read(), "b", voxel_nm=VOXEL_NM)]
    two = table(contacts(given, tmp_path / "two"))
    assert two["boundary_a_nm"] == one["boundary_a_nm"]


def test_where_scores_draw_no_boundary_it_is_half_a_voxel_and_said_so(tmp_path):
    given = images(tmp_path)
    flat = np.where(depths()[0][1] > -100, 0.9, given["scores"].read() / 255).astype(np.float32)
    given["scores"] = write(tmp_path, flat, "flat", voxel_nm=VOXEL_NM)
    found = table(contacts(given, tmp_path / "w"))
    assert found["boundary_a_source"] == ["scores", "half a voxel"]
    assert np.isnan(found["boundary_a_nm"][1])
    off = np.hypot(pitch_nm(VOXEL_NM) / 2, Z * found["boundary_b_nm"][1])
    assert found["gap_min_high_nm"][1] == pytest.approx(found["gap_min_nm"][1] + off)


def test_one_labelling_has_the_scores_of_both_sides(tmp_path):
    z, y, x = np.meshgrid(*[(np.arange(n) + 0.5) * 8.0 for n in SHAPE], indexing="ij")
    balls = [100 - np.sqrt((z - 120) ** 2 + (y - 160) ** 2 + (x - at) ** 2) for at in (200, 420)]
    labels = write(
        tmp_path,
        ((balls[0] > 0) * 1 + (balls[1] > 0) * 2).astype(np.uint8),
        "m",
        kind="label",
        voxel_nm=VOXEL_NM,
    )
    score = np.where(balls[0] > balls[1], ndtr(balls[0] / 4), ndtr(balls[1] / 8)).astype(np.float32)
    scores = write(tmp_path, score, "s", voxel_nm=VOXEL_NM)
    found = table(cf.contacts(labels, labels, scores=scores, gap_nm=40, name="c", work=tmp_path / "w"))
    assert found["boundary_a_nm"] == [pytest.approx(4, rel=0.1), pytest.approx(8, rel=0.1)]
    assert found["boundary_b_nm"] == found["boundary_a_nm"][::-1]
    with pytest.raises(ConfigError, match="which 'scores' are of; leave out partner_scores"):
        cf.contacts(labels, labels, partner_scores=scores, gap_nm=40, name="c", work=tmp_path / "x")


def test_volumes_and_widths_have_the_errors_of_their_objects(tmp_path):
    given = images(tmp_path)
    at = {"scores": given["scores"], "work": tmp_path / "w"}
    found = table(cf.measure(given["instances"], features=["basic", "surface"], name="m", **at))
    assert found["boundary_nm"] == [pytest.approx(4, rel=0.05), pytest.approx(9, rel=0.05)]
    assert found["boundary_source"] == ["scores", "scores"]
    layer = np.subtract(found["volume_high_um3"], found["volume_um3"])
    expected = np.multiply(found["surface_um2"], found["boundary_nm"]) * Z / 1e3
    assert layer == pytest.approx(expected)


def test_a_neck_has_the_errors_of_its_own_surface(tmp_path):
    """A body with two waists; the boundary is blurred by 4 nm on its left half and by 9 on its right."""
    z, y, x = ((np.arange(n) + 0.5) * 8.0 for n in (40, 40, 120))
    radius = np.where(
        (x > 60) & (x < 900),
        80 - 35 * (np.exp(-(((x - 280) / 60) ** 2)) + np.exp(-(((x - 680) / 60) ** 2))),
        -50,
    )
    depth = radius - np.hypot(z[:, None, None] - 160, y[None, :, None] - 160)
    labels = write(tmp_path, (depth > 0).astype(np.uint8), "m", kind="label", voxel_nm=VOXEL_NM)
    score = ndtr(depth / np.where(x < 480, 4, 9)).astype(np.float32)
    scores = write(tmp_path, score, "s", voxel_nm=VOXEL_NM)
    found = table(cf.narrowing(labels, scores=scores, name="n", work=tmp_path / "w"))
    order = np.argsort(found["x_nm"])
    assert np.array(found["boundary_nm"])[order] == pytest.approx([4, 9], rel=0.15)
    assert found["boundary_source"] == ["scores"] * 2
    for row in range(2):
        off = 2 * Z * found["boundary_nm"][row]
        assert found["width_high_nm"][row] == pytest.approx(found["width_nm"][row] + off)


def test_what_cannot_be_is_refused(tmp_path, listing):
    given = images(tmp_path)
    mitos = given["instances"]
    small = write(tmp_path, np.zeros((4, 4, 4), np.uint8), "small", voxel_nm=VOXEL_NM)
    signed = write(tmp_path, np.zeros(SHAPE, np.int16), "signed", voxel_nm=VOXEL_NM)
    before = listing()
    for more, error, says in (
        ({"scores": mitos}, ConfigError, "holds labels, which do not say how sure they are"),
        ({"scores": [given["scores"]] * 2}, ConfigError, "scores name an image twice"),
        ({"scores": small}, InputError, "scores must lie on the voxels of the objects"),
        ({"scores": signed}, ConfigError, "holds int16 voxels; scores are floats or whole numbers from 0"),
        ({"scores": [given["scores"], given["other"]]}, ConfigError, "give as scores images of that class"),
        (
            {"scores": None, "partner_scores": None, "boundary": cf.Boundary(correlation_nm=50)},
            ConfigError,
            "correlation_nm go with boundary_nm, which 'calibrate' measures, or scores",
        ),
        (
            {"scores": None, "partner_scores": None, "boundary": cf.Boundary(most_nm=50)},
            ConfigError,
            "most_nm is the largest error that is read from scores; give scores",
        ),
    ):
        with pytest.raises(error, match=says):
            contacts(given | more, tmp_path / "w")
    with pytest.raises(ConfigError, match="ask for the features 'surface', too"):
        cf.measure(mitos, scores=given["scores"], name="m", work=tmp_path / "w")
    with pytest.raises(ConfigError, match="go with boundary_nm, which 'calibrate' measures, or scores"):
        cf.narrowing(mitos, boundary=cf.Boundary(correlation_nm=50), name="n", work=tmp_path / "w")
    assert listing() == before
