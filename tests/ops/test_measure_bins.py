"""Settings that leave nothing to measure are refused or told, in the plan and on the page."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import done, write

import chunkflow_liver as cf
from chunkflow_liver.errors import ConfigError


def plan(folder, grey, features=("firstorder",), **settings):
    labels = np.zeros(grey.shape, np.uint8)
    labels[:, :4, :4], labels[:, 6:, 6:] = 1, 2
    own = write(folder, labels, "own", kind="label")
    raw = write(folder, grey, "raw")
    return cf.measure(
        own, raw=raw, features=list(features), settings=settings, name="table", work=folder / "work"
    )


def grey(kind):
    values = np.random.default_rng(0).random((4, 10, 10))
    return values.astype(kind) if kind == "float32" else (255 * values).astype(kind)


@pytest.mark.parametrize("features", [["firstorder"], ["glcm"], ["basic", "glszm"]])
def test_one_bin_for_all_gray_values_is_refused(tmp_path, features):
    with pytest.raises(
        ConfigError, match=r"bin_width 256 puts all gray values of uint8, 0 to 255, into one bin"
    ):
        plan(tmp_path, grey("uint8"), features, bin_width=256)
    with pytest.raises(ConfigError, match=r"bin_count 1 puts all gray values into one bin"):
        plan(tmp_path / "other", grey("uint8"), features, bin_count=1)


def test_an_image_of_floats_may_lie_in_one_bin(tmp_path):
    made = plan(tmp_path, grey("float32"))
    assert "if all values lie between 0 and 1, they are in one bin and every entropy is 0" in str(made)
    done(made)
    assert cf.read_table(made.output)["firstorder_Entropy"].to_pylist() == pytest.approx([0, 0], abs=1e-12)
    page = " ".join(cf.report(made).read_text().split())
    assert "table: firstorder_Entropy is 0 for every object, because bin_width = 25 puts all gray" in page


@pytest.mark.parametrize("settings", [{"bin_width": 0.03}, {"bin_count": 32}], ids=str)
def test_bins_that_fit_are_not_spoken_of(tmp_path, settings):
    made = plan(tmp_path, grey("float32"), **settings)
    assert "one bin" not in str(made)
    done(made)
    assert min(cf.read_table(made.output)["firstorder_Entropy"].to_pylist()) > 3
    assert "into one bin" not in cf.report(made).read_text()
    assert "one bin" not in str(plan(tmp_path / "other", grey("uint8")))


def test_a_radius_without_neighbours_is_told(tmp_path):
    made = plan(tmp_path, grey("uint8"), ["basic", "surroundings"], radius_nm=1.0)
    done(made)
    page = " ".join(cf.report(made).read_text().split())
    assert (
        "density_per_um3 is 0 for every object: no object has another one within it (radius_nm = 1)" in page
    )
