"""How errors of boundaries average: against drawn fields, and at both ends."""

from __future__ import annotations

import numpy as np
import pytest

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.kernels.significance.boundaries import Boundary, Z


def drawn(points, correlation):
    """Standard deviation of the mean of a unit field over some points."""
    square = ((points[:, None] - points[None]) ** 2).sum(-1)
    return np.sqrt(np.exp(-square / (2 * correlation**2)).mean())


@pytest.mark.parametrize("correlation", [20.0, 60.0, 200.0])
def test_means_over_a_ring_and_a_ball_are_those_of_their_points(correlation):
    boundary, radius = Boundary(boundary_nm=3, correlation_nm=correlation, bias_nm=0), np.array([50.0])
    angle = np.arange(400) * (2 * np.pi / 400)
    ring = 50 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    assert boundary.ring_nm(radius, 8)[0] == pytest.approx(3 * Z * drawn(ring, correlation), rel=1e-3)
    k = np.arange(1500) + 0.5
    z, turn = 1 - 2 * k / 1500, np.pi * (1 + 5**0.5) * k
    ball = 50 * np.stack([np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], 1)
    found = boundary.ball_nm(radius, 8)[0]
    assert found == pytest.approx(3 * Z * drawn(ball, correlation), rel=1e-2)
    out = 50 * np.sqrt(k / 1500)
    disc = np.stack([out * np.cos(turn), out * np.sin(turn)], 1)
    # Both boundaries, and where in a voxel of 1 nm each lies.
    square = 2 * (3 * Z * drawn(disc, correlation)) ** 2 + Z**2 / 6
    assert boundary.patch_nm(radius, 1)[0] == pytest.approx(min(square, 18 * Z**2) ** 0.5, rel=2e-2)


def test_the_ends_of_correlation():
    radius = np.array([0.0, 50.0])
    whole, none = Boundary(boundary_nm=3), Boundary(boundary_nm=3, correlation_nm=0, bias_nm=0)
    assert whole.ring_nm(radius, 8).tolist() == [3 * Z, 3 * Z]
    assert none.ring_nm(radius, 8).tolist() == [3 * Z, 0]
    assert Boundary().ring_nm(radius, 8).tolist() == [4, 4]
    assert Boundary().patch_nm(radius, 8).tolist() == [Boundary().between_nm(8)] * 2
    both = Boundary(boundary_nm=3, partner_nm=4, correlation_nm=0, bias_nm=0)
    assert both.patch_nm(radius, 6).tolist() == pytest.approx([5 * Z, (16 + 6) ** 0.5 * Z])


def test_a_bias_is_not_averaged():
    """Of a root mean square of 5 nm, 4 are the same everywhere, round a large ring 3 vanish."""
    radius = np.array([0.0, 1e7])
    for bias in (4, -4):
        found = Boundary(boundary_nm=5, correlation_nm=20, bias_nm=bias).ring_nm(radius, 8)
        assert found == pytest.approx([5 * Z, 4 * Z], rel=1e-5)


def test_a_bias_of_both_sides_is_no_accident():
    """Both objects too thin by 4 of 5 nm: their gap is off by 8 everywhere, and by 3 of each alone."""
    known = Boundary(boundary_nm=5, correlation_nm=20, bias_nm=-4)
    assert known.between_nm(8) == pytest.approx(Z * (8**2 + 2 * 3**2) ** 0.5)
    assert known.patch_nm(np.array([1e7]), 6)[0] == pytest.approx(Z * (8**2 + 6) ** 0.5, rel=1e-5)
    # The bias of another side is not known.
    other = Boundary(boundary_nm=5, partner_nm=12, correlation_nm=20, bias_nm=-4)
    assert other.between_nm(8) == pytest.approx(13 * Z)
    rng = np.random.default_rng(0)
    for bias in (0.0, 2.0, 3.5, 4.5):
        rest, known = (25 - bias**2) ** 0.5, Boundary(boundary_nm=5, correlation_nm=20, bias_nm=bias)
        off = 2 * bias + rest * rng.normal(size=(2, 20_000)).sum(0)
        assert (np.abs(off) <= known.between_nm(8)).mean() >= 0.945


def test_shifts_by_hand():
    """Half a voxel without knowledge; else 1.96 standard deviations, of both sides together."""
    assert Boundary().shift_nm(8) == 4
    assert Boundary().between_nm(8) == pytest.approx(4 * 2**0.5)
    known = Boundary(boundary_nm=3, partner_nm=4)
    assert (known.shift_nm(8), known.between_nm(8)) == (pytest.approx(3 * Z), pytest.approx(5 * Z))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"boundary_nm": -1}, "boundary_nm must be 0 or more and finite, got -1"),
        ({"boundary_nm": 5, "correlation_nm": 50}, "correlation_nm and bias_nm go together"),
        (
            {"boundary_nm": 5, "correlation_nm": np.inf, "bias_nm": 1},
            "off by one amount; leave out correlation_nm and bias_nm",
        ),
        ({"boundary_nm": 5, "correlation_nm": 50, "bias_nm": -6}, "a part of boundary_nm = 5, got -6"),
        (
            {"boundary_nm": 5, "correlation_nm": 50, "bias_nm": float("nan")},
            "a part of boundary_nm = 5, got nan",
        ),
    ],
)
def test_boundaries_that_cannot_be_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        Boundary(**options)
