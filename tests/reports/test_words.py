"""Samples, figures, numbers and words of a report."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from chunkflow_liver.reports.pictures.figures import Bars, even_edges, histogram, log_edges, single
from chunkflow_liver.reports.pictures.samples import choose, surface
from chunkflow_liver.reports.words import cell, counted, duration, heading, number, percent, several, size
from chunkflow_liver.store.volume import Volume


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 5000)] * 3),
    chunks=st.tuples(*[st.integers(1, 300)] * 3),
    most=st.integers(1000, 100_000),
)
def test_a_sample_is_inside_the_volume_and_small_enough(shape, chunks, most):
    volume = Volume("x", "0", shape, "uint8", (8, 8, 8), chunks)
    sample = choose([volume], most)
    assert sum(b.size for b in sample.boxes) <= max(most, len(sample.boxes))
    assert all(volume.box.contains(b) and b.size for b in sample.boxes)
    assert len(set(sample.boxes)) == len(sample.boxes)
    if math.prod(shape) <= most:
        assert sum(b.size for b in sample.boxes) == volume.box.size


def test_a_volume_of_few_huge_chunks_is_sampled_in_a_coarser_level():
    finest = Volume("x", "0", (1, 40_000, 40_000), "uint8", (40, 5, 5), (1, 20_000, 20_000))
    coarse = replace(finest, shape=(1, 1000, 1000), chunks=(1, 1000, 1000), level=1)
    assert choose([finest, coarse]).level == 1
    assert "of level 1" in choose([finest, coarse]).text


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_surface_voxel_has_a_face_neighbour_of_another_label(seed):
    labels = np.random.default_rng(seed).integers(0, 3, (4, 5, 6))
    footprint = ndimage.generate_binary_structure(3, 1)
    low = ndimage.minimum_filter(labels, footprint=footprint, mode="nearest")
    high = ndimage.maximum_filter(labels, footprint=footprint, mode="nearest")
    np.testing.assert_array_equal(surface(labels), (low != high) & (labels != 0))


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=30))
def test_logarithmic_edges_hold_all_values(values):
    edges = log_edges(np.array(values))
    assert np.histogram(values, edges)[0].sum() == len(values)
    assert len(edges) <= 45


@given(low=st.floats(-1e4, 1e4), span=st.floats(1e-3, 1e4))
def test_even_edges_are_round_and_cover_the_range(low, span):
    edges = even_edges(low, low + span)
    step = edges[1] - edges[0]
    assert edges[0] <= low + step * 1e-6
    assert edges[-1] >= low + span - step * 1e-6
    assert len(edges) <= 43


@given(st.floats(1, 1e4), st.floats(1e-2, 1e4))
def test_bins_are_as_wide_as_asked(span, least):
    edges = even_edges(0.0, span, least=least)
    assert edges[1] - edges[0] >= least * (1 - 1e-9)
    assert edges[-1] >= span * (1 - 1e-9)


def test_one_value_is_said_in_words():
    assert single(np.array([0.25, 0.25, np.nan]), "µm²") == '<p class="single">0.250 µm²</p>'
    assert single(np.array([0.25, 0.5]), "µm²") == ""
    assert single(np.array([]), "µm²") == ""


def test_thousands_are_set_apart_in_amounts_only():
    columns = ("voxels", "surface_voxels", "class_voxels", "label", "parent", "bbox_z_min")
    texts = ["10 908"] * 3 + ["10908"] * 3
    assert [cell(10908, c).replace("\u202f", " ") for c in columns] == texts


def test_a_figure_takes_the_colour_of_the_text_and_loads_nothing():
    svg = histogram([Bars(np.arange(4.0), np.array([1, 2, 3]), "#123456")], x="x (nm)", y="n")
    assert svg.startswith("<svg")
    assert "currentColor" in svg
    assert "http" not in svg
    assert "x (nm)" in svg
    assert histogram([Bars(np.arange(4.0), np.zeros(3), "#123456")], x="x", y="n") == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1 234 567"), (0.0, "0"), (0.12345, "0.123"), (12.345, "12.3"), (1234.5, "1 234"),
        (3.2e-7, "3.20 × 10⁻⁷"), (2.5e12, "2.50 × 10¹²"), (math.nan, "–"), (math.inf, "∞"),
        (-0.5, "-0.500"),
    ],
)  # fmt: skip
def test_numbers_have_three_digits(value, text):
    assert number(value).replace("\u202f", " ") == text


def test_shares_are_never_rounded_to_none_or_all():
    shares = [0, 1e-5, 0.051, 0.38, 0.9999, 1]
    texts = ["0 %", "under 0.1 %", "5.1 %", "38 %", "over 99.9 %", "100 %"]
    assert [percent(s).replace("\u202f", " ") for s in shares] == texts


def test_words_for_a_reader():
    assert several("mitochondrion") == "mitochondria"
    assert several("lipid_droplet") == "lipid droplets"
    assert several("peroxisome") == "peroxisome objects"
    assert heading("area_a_um2") == ("area a", "µm²")
    assert heading("bbox_z_min") == ("bbox z min", "voxels")
    assert [duration(s).replace("\u202f", " ") for s in (1.5, 150, 7200)] == ["1.50 s", "2.5 min", "2.0 h"]
    assert size(3 * 2**20).replace("\u202f", " ") == "3.00 MiB"


def test_one_is_singular_and_none_is_plural():
    assert [counted(n, "object") for n in (0, 1, 2)] == ["0 objects", "1 object", "2 objects"]
    assert counted(1, "box is", "boxes are") == "1 box is"
    assert counted(1234, "box is", "boxes are") == "1\u202f234 boxes are"


def test_amounts_of_a_summary_have_no_decimals():
    assert [cell(24.0, "value"), cell(0.25, "value"), cell(24.0, "mean")] == ["24", "0.2500", "24.00"]
