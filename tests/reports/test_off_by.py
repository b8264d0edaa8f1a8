"""The page says what boundaries that are off make of a number, and where that is known from."""

from __future__ import annotations

import pytest

from chunkflow_liver.reports.words import off_by


@pytest.mark.parametrize(
    ("sources", "says"),
    [
        (set(), ""),
        (
            {"half a voxel"},
            "With boundaries half a voxel farther in or out, which is no interval, it is 3 to 5 %.",
        ),
        ({"scores"}, "With boundaries off by what the scores say (95 %), it is 3 to 5 %."),
        (
            {"half a voxel", "calibration"},
            "With boundaries off by what 'calibrate' measured (95 %) and half a voxel, it is 3 to 5 %.",
        ),
    ],
)
def test_sources_are_said_in_words(sources, says):
    assert off_by(sources, "it", "3 to 5 %") == says
