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


SOURCES = ("calibration", "folds", "scores", "half a voxel")
"""Where the error of a boundary is known from, the first before the others; `source_of` chooses."""


@dataclass(frozen=True)
class Boundary:
    """How sure the boundaries of objects are.

    Attributes
    ----------
    boundary_nm : float, optional
        Root mean square of the boundary's error, so with its bias, in nm (`calibrate` measures it). Without
        it, and without scores, boundaries are shifted by half a voxel, which says how much that matters, and
        is no interval.
    partner_nm : float, optional
        The same of the other side of a contact; as `boundary_nm` by default.
    correlation_nm : float, optional
        Over what distance the error of a boundary is alike (`calibrate`), in nm: errors at a distance h have
        the correlation exp(-h^2 / 2 correlation_nm^2). Without it the whole boundary is off by one amount.
    bias_nm : float, optional
        The part of `boundary_nm` that is the same everywhere (`calibrate`; of either sign), which no mean
        makes smaller; goes with `correlation_nm`. Scores that are calibrated have none.
    most_nm : float, optional
        The largest error that is read from scores, in nm, and in the halo of the blocks; by default 1.5
        times the side of a cube of the voxel's volume. What is larger counts as this, and is told.
    """

    boundary_nm: float | None = None
    partner_nm: float | None = None
    correlation_nm: float | None = None
    bias_nm: float | None = None
    most_nm: float | None = None

    def __post_init__(self) -> None:
        for name in ("boundary_nm", "partner_nm", "correlation_nm", "most_nm"):
            value = getattr(self, name)
            if name == "correlation_nm" and value == math.inf:
                raise ConfigError(
                    "correlation_nm is infinite: the whole boundary is off by one amount; leave out "
                    "correlation_nm and bias_nm, which says so"
                )
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} must be 0 or more and finite, got {value!r}")
        if self.most_nm == 0:
            raise ConfigError("most_nm is the largest error that scores may say, above 0; got 0")
        if self.boundary_nm is not None and (self.correlation_nm is None) != (self.bias_nm is None):
            raise ConfigError(
                "correlation_nm and bias_nm go together: the bias is not averaged; 'calibrate' measures both"
            )
        # As rounded as a person may write both.
        if self.bias_nm is not None and not abs(self.bias_nm) <= 1.01 * (self.boundary_nm or 0.0):
            raise ConfigError(
                f"bias_nm is a part of boundary_nm = {self.boundary_nm!r}, got {self.bias_nm!r}; "
                "take both from the same table of 'calibrate'"
            )

    def source_of(self, images: int, *, partner: bool = False) -> str:
        """Where the error of a side is known from: one of `SOURCES`, the first that there is.

        Parameters
        ----------
        images : int
            Of scores, or of labels of several networks, of that side.
        partner : bool
            Whether it is the other side of a contact.
        """
        told = self.partner_nm if partner and self.partner_nm is not None else self.boundary_nm
        if told is not None:
            return SOURCES[0]
        return SOURCES[3 if not images else 2 if images == 1 else 1]

    def check(self, *images: int) -> None:
        """Refuse what no source uses; `images` are those of each side.

        Raises
        ------
        ConfigError
        """
        sources = [self.source_of(n, partner=bool(i)) for i, n in enumerate(images)]
        read = "scores" in sources or "folds" in sources
        if not read and self.boundary_nm is None and (self.partner_nm, self.correlation_nm) != (None, None):
            raise ConfigError(
                "partner_nm and correlation_nm go with boundary_nm, which 'calibrate' measures, or scores"
            )
        if not read and self.most_nm is not None:
            raise ConfigError("most_nm is the largest error that is read from scores; give scores")

    def largest_nm(self, pitch_nm: float) -> float:
        """The largest error that is read from scores."""
        return 1.5 * pitch_nm if self.most_nm is None else self.most_nm

    def shift_nm(self, pitch_nm: float, local_nm: Array | float | None = None) -> Array:
        """Half the interval of one boundary's place; half a `pitch_nm` where nothing is known.

        Parameters
        ----------
        pitch_nm : float
        local_nm : ndarray, optional
            What scores say of each (NaN where nothing), unless `boundary_nm` is known.
        """
        if self.boundary_nm is not None or local_nm is None:
            return np.asarray(pitch_nm / 2 if self.boundary_nm is None else Z * self.boundary_nm)
        return np.where(np.isnan(local_nm), pitch_nm / 2, Z * np.asarray(local_nm))

    def between_nm(
        self, pitch_nm: float, own_nm: Array | float | None = None, partner_nm: Array | float | None = None
    ) -> Array:
        """The same of a gap between two boundaries, whose errors know nothing of each other but their bias.

        Both sides have one bias, of one sign, unless `partner_nm` says what the other is: two objects drawn
        too thin are apart by twice of it. What scores say of either side goes as in `shift_nm`.
        """
        other = self.shift_nm(pitch_nm, partner_nm)
        if self.partner_nm is not None:
            other = np.asarray(Z * self.partner_nm)
        return np.sqrt(self.shift_nm(pitch_nm, own_nm) ** 2 + other**2 + self._shared_nm() ** 2)

    def _shared_nm(self) -> float:
        """What one bias of both boundaries adds to the independent sum of theirs: (2 b)^2 is 2 b^2 more."""
        if self.partner_nm is not None or self.bias_nm is None:
            return 0.0
        return Z * math.sqrt(2) * abs(self.bias_nm)

    def patch_nm(
        self,
        radius_nm: Array,
        pitch_nm: float,
        own_nm: Array | None = None,
        partner_nm: Array | None = None,
    ) -> Array:
        """Half the interval of the mean gap over a disc of each radius (n,), whose errors are averaged.

        Each boundary lies anywhere in its voxel, whatever errors do: `pitch_nm` / 12^0.5 each.
        """
        most = np.broadcast_to(self.between_nm(pitch_nm, own_nm, partner_nm), len(radius_nm))
        if self.correlation_nm is None:
            return most
        own, other = (
            self.mean_nm(disc_correlation, radius_nm, pitch_nm, local) for local in (own_nm, partner_nm)
        )
        other = other if self.partner_nm is None else np.full(len(own), Z * self.partner_nm)
        averaged = np.sqrt(own**2 + other**2 + self._shared_nm() ** 2 + Z**2 * pitch_nm**2 / 6)
        return np.minimum(averaged, most)

    def ring_nm(self, radius_nm: Array, pitch_nm: float, local_nm: Array | None = None) -> Array:
        """Half the interval of the mean place of a boundary over a circle of each radius (n,)."""
        return self.mean_nm(ring_correlation, radius_nm, pitch_nm, local_nm)

    def ball_nm(self, radius_nm: Array, pitch_nm: float, local_nm: Array | None = None) -> Array:
        """The same over the surface of a ball of each radius (n,)."""
        return self.mean_nm(ball_correlation, radius_nm, pitch_nm, local_nm)

    def mean_nm(
        self,
        alike: Callable[[Array], Array],
        radius_nm: Array,
        pitch_nm: float,
        local_nm: Array | None = None,
    ) -> Array:
        """The same over any shape: the error shrinks with the correlation of its points, the bias does not.

        Parameters
        ----------
        alike : callable
            Mean correlation of two points of the shape, of the ratio of its radius to `correlation_nm`, (n,).
        radius_nm : ndarray of shape (n,), float
        pitch_nm : float
            Voxel size, for boundaries that nothing is known of.
        local_nm : ndarray of shape (n,), optional
            As for `shift_nm`.
        """
        whole = np.broadcast_to(self.shift_nm(pitch_nm, local_nm), len(radius_nm))
        known = self.boundary_nm if self.boundary_nm is not None else local_nm
        if known is None or self.correlation_nm is None:
            return whole
        bias = self.bias_nm or 0.0
        square = np.maximum(np.asarray(known, np.float64) ** 2 - bias**2, 0.0)
        if self.correlation_nm == 0:
            share = np.where(radius_nm > 0, 0.0, 1.0)
        else:
            share = alike(radius_nm / self.correlation_nm)
        # Half a voxel is no error that could be averaged.
        return np.where(np.isnan(known), whole, Z * np.sqrt(bias**2 + square * share))


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
