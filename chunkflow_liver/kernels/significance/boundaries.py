"""How far what is measured may be off because boundaries are: from their error and its correlation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.xp import Array

Z = 1.959963984540054
"""Of 95 % of a normal distribution."""


@dataclass(frozen=True)
class Boundary:
    """How sure the boundaries of objects are.

    Attributes
    ----------
    boundary_nm : float, optional
        Root mean square of the boundary's error, so with its bias, in nm (`calibrate` measures it). Without
        it boundaries are shifted by half a voxel, which says how much that matters, and is no interval.
    partner_nm : float, optional
        The same of the other side of a contact; as `boundary_nm` by default.
    correlation_nm : float, optional
        Over what distance the error of a boundary is alike (`calibrate`), in nm: errors at a distance h have
        the correlation exp(-h^2 / 2 correlation_nm^2). Without it the whole boundary is off by one amount.
    bias_nm : float, optional
        The part of `boundary_nm` that is the same everywhere (`calibrate`; of either sign), which no mean
        makes smaller; goes with `correlation_nm`.
    """

    boundary_nm: float | None = None
    partner_nm: float | None = None
    correlation_nm: float | None = None
    bias_nm: float | None = None

    def __post_init__(self) -> None:
        for name in ("boundary_nm", "partner_nm", "correlation_nm"):
            value = getattr(self, name)
            if name == "correlation_nm" and value == math.inf:
                raise ConfigError(
                    "correlation_nm is infinite: the whole boundary is off by one amount; leave out "
                    "correlation_nm and bias_nm, which says so"
                )
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} must be 0 or more and finite, got {value!r}")
        if self.boundary_nm is None and (self.partner_nm, self.correlation_nm) != (None, None):
            raise ConfigError("partner_nm and correlation_nm go with boundary_nm; 'calibrate' measures them")
        if (self.correlation_nm is None) != (self.bias_nm is None):
            raise ConfigError(
                "correlation_nm and bias_nm go together: the bias is not averaged; 'calibrate' measures both"
            )
        # As rounded as a person may write both.
        if self.bias_nm is not None and not abs(self.bias_nm) <= 1.01 * (self.boundary_nm or 0.0):
            raise ConfigError(
                f"bias_nm is a part of boundary_nm = {self.boundary_nm!r}, got {self.bias_nm!r}; "
                "take both from the same table of 'calibrate'"
            )

    def shift_nm(self, pitch_nm: float) -> float:
        """Half the interval of one boundary's place; half a `pitch_nm` where nothing is known."""
        return pitch_nm / 2 if self.boundary_nm is None else Z * self.boundary_nm

    def between_nm(self, pitch_nm: float) -> float:
        """The same of a gap between two boundaries, whose errors know nothing of each other but their bias.

        Both sides have one bias, of one sign, unless `partner_nm` says what the other is: two objects drawn
        too thin are apart by twice of it.
        """
        other = self.shift_nm(pitch_nm)
        if self.partner_nm is not None:
            other = Z * self.partner_nm
        return math.hypot(self.shift_nm(pitch_nm), other, self._shared_nm())

    def _shared_nm(self) -> float:
        """What one bias of both boundaries adds to the independent sum of theirs: (2 b)^2 is 2 b^2 more."""
        if self.partner_nm is not None or self.bias_nm is None:
            return 0.0
        return Z * math.sqrt(2) * abs(self.bias_nm)

    def patch_nm(self, radius_nm: Array, pitch_nm: float) -> Array:
        """Half the interval of the mean gap over a disc of each radius (n,), whose errors are averaged.

        Each boundary lies anywhere in its voxel, whatever errors do: `pitch_nm` / 12^0.5 each.
        """
        if self.correlation_nm is None:
            return np.full(len(radius_nm), self.between_nm(pitch_nm))
        own = self.mean_nm(disc_correlation, radius_nm, pitch_nm)
        other = own if self.partner_nm is None else np.full(len(own), Z * self.partner_nm)
        averaged = np.sqrt(own**2 + other**2 + self._shared_nm() ** 2 + Z**2 * pitch_nm**2 / 6)
        return np.minimum(averaged, self.between_nm(pitch_nm))

    def ring_nm(self, radius_nm: Array, pitch_nm: float) -> Array:
        """Half the interval of the mean place of a boundary over a circle of each radius (n,)."""
        return self.mean_nm(ring_correlation, radius_nm, pitch_nm)

    def ball_nm(self, radius_nm: Array, pitch_nm: float) -> Array:
        """The same over the surface of a ball of each radius (n,)."""
        return self.mean_nm(ball_correlation, radius_nm, pitch_nm)

    def mean_nm(self, alike: Callable[[Array], Array], radius_nm: Array, pitch_nm: float) -> Array:
        """The same over any shape: the error shrinks with the correlation of its points, the bias does not.

        Parameters
        ----------
        alike : callable
            Mean correlation of two points of the shape, of the ratio of its radius to `correlation_nm`, (n,).
        radius_nm : ndarray of shape (n,), float
        pitch_nm : float
            Voxel size, for boundaries that nothing is known of.
        """
        if self.boundary_nm is None or self.correlation_nm is None or self.bias_nm is None:
            return np.full(len(radius_nm), self.shift_nm(pitch_nm))
        square = max(self.boundary_nm**2 - self.bias_nm**2, 0.0)
        if self.correlation_nm == 0:
            share = np.where(radius_nm > 0, 0.0, 1.0)
        else:
            share = alike(radius_nm / self.correlation_nm)
        return Z * np.sqrt(self.bias_nm**2 + square * share)


def ball_correlation(ratio: Array) -> Array:
    """Mean correlation of two points of a sphere: (1 - exp(-2 q)) / 2 q with the squared ratio q."""
    twice = 2 * ratio**2
    return np.where(twice > 0, -np.expm1(-twice) / np.where(twice > 0, twice, 1.0), 1.0)


def disc_correlation(ratio: Array) -> Array:
    """Mean correlation of two points of a disc: 2 (1 - exp(-q) (I0(q) + I1(q))) / q, q the squared ratio."""
    from scipy.special import i0e, i1e

    q = np.asarray(ratio, np.float64) ** 2
    # Near 0 the difference is of nothing but rounding: 1 - q / 2 is as good below 1e-6.
    some = np.where(q > 1e-6, q, 1.0)
    return np.asarray(np.where(q > 1e-6, 2 * (1 - i0e(some) - i1e(some)) / some, 1 - q / 2))


def ring_correlation(ratio: Array) -> Array:
    """Mean correlation of two points of a circle: exp(-q) I0(q) with the squared ratio q."""
    from scipy.special import i0e

    return np.asarray(i0e(ratio**2))
