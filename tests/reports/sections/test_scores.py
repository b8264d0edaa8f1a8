"""Scores and uncertainty in a report: drawn on the image, and their means in every class."""

from __future__ import annotations

import numpy as np
import pytest
from report_pages import Page
from strategies import done, write

import chunkflow_liver as cf
from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.reports import report
from chunkflow_liver.reports.pictures.slices import score_colours, score_gradient
from chunkflow_liver.reports.work import read_work
from chunkflow_liver.store.table import Table

SHAPE = (6, 20, 30)


@pytest.fixture
def plan(tmp_path) -> Plan:
    """Two classes, and two kept images whose means are 51 and 204 inside a class, 0 and 102 elsewhere."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, :10, :10], labels[:, 10:, 20:] = 1, 2
    score = np.where(labels == 1, 51, 0).astype(np.uint8)
    uncertainty = np.where(labels > 0, 204, 102).astype(np.uint8)
    classes = write(tmp_path, labels, "cells", kind="label", classes=[("mitochondrion", 1), ("er", 2)])
    products = (
        Product("raw", "raw", write(tmp_path, labels * 40, "raw")),
        Product("semantic", "cells", classes),
        Product("score", "cells-score-mitochondrion", write(tmp_path, score, "cells-score-mitochondrion")),
        Product("score", "cells-uncertainty", write(tmp_path, uncertainty, "cells-uncertainty")),
    )
    made = cf.label(classes, classes=[1], name="mitos", work=tmp_path / "work")
    plan = Plan(made.stages, made.work, made.output, (*products, *made.products))
    done(plan)
    return plan


def done_again(plan, products):
    again = Plan(plan.stages, plan.work, plan.output, products)
    done(again)
    return again


def test_scores_are_drawn_with_a_scale_and_their_means_by_class(plan):
    page = Page(report(plan))
    for name in ("cells-score-mitochondrion", "cells-uncertainty"):
        assert f"{name}: 0 1" in page.text
        assert f"{name}, xy plane" in page.source
    table = page.text[page.text.index("Scores in cells") :]
    assert table.startswith(
        "Scores in cells class score mitochondrion mean uncertainty mean "
        "mitochondrion 0.200 0.800 ER 0 0.800 none of these 0 0.400 "
        "Mean over the voxels of each class, 0 to 1, in all 3 600 voxels."
    )


def test_a_class_without_a_voxel_has_no_mean(plan, tmp_path):
    write(tmp_path / "x", np.ones(SHAPE, np.uint8), "cells", kind="label", classes=[("a", 1), ("b", 2)])
    empty = cf.open_volume(tmp_path / "x/cells.ome.zarr")
    products = tuple(Product(p.kind, p.name, empty) if p.kind == "semantic" else p for p in plan.products)
    page = Page(report(done_again(plan, products)))
    table = page.text[page.text.index("Scores in cells") :]
    assert " b – – Mean over" in table
    assert "none of these" not in table.partition("Mean over")[0]


def test_a_run_without_scores_has_no_table_of_them(plan):
    products = tuple(p for p in plan.products if p.kind != "score")
    (plan.work / "products.json").unlink()
    page = Page(report(done_again(plan, products)))
    assert [p.kind for p in read_work(plan.work).products].count("score") == 0
    assert "Scores in" not in page.text


def test_a_score_of_nothing_is_clear_and_more_is_brighter():
    values = np.array([[0, 64, 128, 255]], np.uint8)
    colours = score_colours(values, np.array([[True, True, True, True]])).astype(int)[0]
    assert colours[0, 3] == 0
    assert (np.diff(colours[:, 3]) > 0).all()
    assert (np.diff(colours[:, :3].sum(1)) > 0).all()
    assert not score_colours(values, np.zeros((1, 4), bool)).any()
    assert len(score_gradient()) == 9
    assert score_gradient()[0].endswith(",0.00)")


def test_a_comparison_with_a_truth_is_said_in_a_sentence(plan, tmp_path):
    classes = Table(str(tmp_path / "classes.parquet"))
    classes.write({"class": np.array(["er", "lipid"]), "dice": np.array([0.5, 0.25])})
    objects = Table(str(tmp_path / "objects.parquet"))
    objects.write(
        {
            "iou_threshold": np.array([0.5]),
            "matched": np.array([3]),
            "found": np.array([5]),
            "truth": np.array([4]),
            "f1": np.array([6 / 9]),
        }
    )
    about = (("found", "mitos"), ("truth", "gold"))
    products = (
        *plan.products,
        Product("evaluation", "classes", classes, about),
        Product("evaluation", "objects", objects, about),
    )
    page = Page(report(done_again(plan, products)))
    assert "Dice of mitos against gold: ER 0.500, lipid 0.250." in page.text
    assert (
        "Of 4 objects of gold 3 (75 %) were found, 5 objects of mitos in all: F1 0.667 at an IoU" in page.text
    )
