"""How the image moves from one slice to another: a displacement for every pixel, by OpenCV."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_liver.errors import ConfigError
from chunkflow_liver.xp import Array

METHODS = ("farneback", "dis")
BLANK = 0.95
"""A slice is blank if this share of its pixels has one value."""


@dataclass(frozen=True)
class Motion:
    """How displacements are found.

    Attributes
    ----------
    method : {'farneback', 'dis'}
        Polynomial expansion [1]_, which is smooth, or inverse search in patches [2]_, which follows larger
        steps.
    reduce : int
        So many pixels are averaged along y and along x before.
    limits : tuple of float, optional
        Grey values that become black and white; those of 8 bits by default.
    window : int
        Side of what moves together, in (averaged) pixels; for 'farneback'.

    References
    ----------
    .. [1] Farneback, Two-frame motion estimation based on polynomial expansion, SCIA 2003,
       doi:10.1007/3-540-45103-X_50
    .. [2] Kroeger et al., Fast optical flow using dense inverse search, ECCV 2016, arXiv:1603.03590
    """

    method: str = "farneback"
    reduce: int = 1
    limits: tuple[float, float] | None = None
    window: int = 21

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"flow is found by one of {list(METHODS)}, got {self.method!r}")
        for name in ("reduce", "window"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is a number of pixels, 1 or more, got {getattr(self, name)!r}")
        if self.limits is not None:
            low, high = self.limits
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ConfigError(f"limits are two grey values, black below white, got {self.limits!r}")


@functools.cache
def opencv() -> Any:
    """OpenCV on one thread, as every task has one.

    Raises
    ------
    ConfigError
        If it is not installed.
    """
    try:
        import cv2
    except ImportError as err:
        raise ConfigError(
            "flow between slices, and cells carried by it, need OpenCV; pip install 'chunkflow-liver[cells]'"
        ) from err
    cv2.setNumThreads(1)
    return cv2


def greys(plane: Array, motion: Motion) -> Array:
    """A slice as flow is found on it: averaged, 256 grey values.

    Parameters
    ----------
    plane : ndarray of shape (Y, X)
        Grey values.
    motion : Motion
        Its `limits` are needed unless the slice is uint8.

    Returns
    -------
    ndarray of shape (ceil(Y / reduce), ceil(X / reduce)), uint8
    """
    values = np.asarray(plane)
    if motion.limits is not None:
        low, high = motion.limits
        scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
        values = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    if values.dtype != np.uint8:
        raise ConfigError(f"flow sees 256 grey values, and these are {values.dtype}: give limits")
    return averaged(values, motion.reduce)


def averaged(plane: Array, reduce: int) -> Array:
    """Means of `reduce` x `reduce` pixels; those at the far end are repeated to make a whole cell."""
    if reduce == 1:
        return plane
    height, width = (-(-n // reduce) for n in plane.shape)
    whole = np.pad(
        plane, [(0, m * reduce - n) for m, n in zip((height, width), plane.shape, strict=True)], "edge"
    )
    cv2 = opencv()
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA))


def is_blank(plane: Array) -> bool:
    """Whether a slice shows nothing: `BLANK` of its pixels have one value, as a black or a missing one."""
    flat = np.asarray(plane).ravel()
    # What most pixels have is the median, and cheap to find in few values.
    middle = np.partition(flat, flat.size // 2)[flat.size // 2]
    return bool(np.count_nonzero(flat == middle) >= BLANK * flat.size)


def displacement(here: Array, there: Array, motion: Motion) -> Array:
    """Where every pixel of one slice lies in another.

    Parameters
    ----------
    here, there : ndarray of shape (Y, X), uint8
        Two slices, as `greys` gives them.
    motion : Motion
        How.

    Returns
    -------
    ndarray of shape (2, Y, X), float32
        Displacement along y and along x, in pixels: what is at p in `here` is at p + displacement(p) in
        `there`.

    Notes
    -----
    Sub-pixel; large steps are found on coarser copies first. A slice too small for the window is padded. With
    a Gaussian window and the published (5, 1.2) for polynomials, shifts of 14 pixels were lost on texture
    5 pixels wide; not so with a box of 21 and (7, 1.5).
    """
    cv2 = opencv()
    least = 2 * motion.window
    more = [max(0, least - n) for n in here.shape]
    if any(more):
        pad = [(0, m) for m in more]
        here_, there_ = (np.pad(p, pad, "edge") for p in (here, there))
    else:
        here_, there_ = here, there
    if motion.method == "farneback":
        levels = max(1, min(6, int(math.log2(min(here_.shape) / least)) + 1))
        found = cv2.calcOpticalFlowFarneback(here_, there_, None, 0.5, levels, motion.window, 5, 7, 1.5, 0)
    else:
        found = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(here_, there_, None)
    # OpenCV gives x first.
    both = np.asarray(found)[: here.shape[0], : here.shape[1], ::-1]
    return np.ascontiguousarray(np.moveaxis(both, 2, 0), np.float32)


def part_of(field: Array, share: float, before: float) -> Array:
    """The step of a share of a displacement, seen from where the pixels are after an earlier share of it.

    Over slices that show nothing, motion is taken as straight and even.

    Parameters
    ----------
    field : ndarray of shape (2, Y, X), float32
        Displacement over all of the way, from its beginning.
    share, before : float
        The part that is wanted, and the part that has been gone.

    Returns
    -------
    ndarray of shape (2, Y, X), float32
    """
    back = field
    for _ in range(3):
        # The pixel that is here now began where this much of its own motion ends here.
        back = pulled(field, -np.float32(before) * back)
    return np.asarray(np.float32(share) * back, np.float32)


def pulled(values: Array, by: Array) -> Array:
    """Values (K, Y, X) at p + by(p), between pixels linearly, beyond the border those at it; float32."""
    cv2 = opencv()
    height, width = by.shape[1:]
    y = np.arange(height, dtype=np.float32)[:, None] + by[0]
    x = np.arange(width, dtype=np.float32)[None, :] + by[1]
    parts = [
        cv2.remap(np.ascontiguousarray(v), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for v in values
    ]
    return np.stack([np.asarray(p, np.float32) for p in parts])
