"""Windows as another microscope, operator or day might have made them; every change from a given generator.

The changes that all images share are those of nnU-Net's training, with its ranges. batchgeneratorsv2, which
has them too, draws from the random numbers of the whole process: a window would then depend on the threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from chunkflow_liver.training.losses import IGNORE

Values = np.ndarray[Any, Any]
ROTATE, SCALE, NOISE, BLUR, BRIGHTNESS, CONTRAST, COARSE, GAMMA = 0.2, 0.2, 0.1, 0.1, 0.15, 0.15, 0.1, 0.2
"""How often."""
MISSING, SHIFT, STEP, DEFOCUS = 0.1, 0.15, 0.15, 0.1
"""How often, per window, of what electron micrographs have: a lost slice, a slice beside its place, a slice
of another contrast, one out of focus."""
STAIN = 0.4
"""How often a window gets what few painted slices show: a dark cell, a sheath of myelin, a tear.
A network that has seen none takes what is dark for what it looks for."""
STAIN_NM = (150.0, 900.0)
"""Size of these, and of the noise whose level sets they are."""
DARK = 0.75
"""Of them, that are dark; the others are bright."""
COARSE_AXIS = 3.0
"""A window whose voxels are this much longer along z is turned within its planes only, as nnU-Net has it."""


def augmented(
    image: Values, labels: Values, rng: np.random.Generator, *, kind: str, voxel_nm: tuple[float, ...]
) -> tuple[Values, Values]:
    """A window, changed.

    Parameters
    ----------
    image : ndarray of shape (C, Z, Y, X), float32
        With mean 0 and deviation 1 over its volume.
    labels : ndarray of shape (Z, Y, X), int16
        `IGNORE` where nothing is known.
    rng : numpy.random.Generator
        Where every random number comes from.
    kind : {'em', 'flips', 'none'}
    voxel_nm : tuple of float
        Along (z, y, x).

    Returns
    -------
    image, labels : ndarray
        New arrays of the same shapes.
    """
    if kind == "none":
        return image, labels
    if kind == "em":
        image, labels = _turned(image, labels, rng, voxel_nm)
    image, labels = _flipped(image, labels, rng)
    if kind == "em":
        image, labels = _stained(np.array(image, order="C"), labels, rng, voxel_nm)
        image, labels = _slices(image, labels, rng)
        # Channels are images of their own, as nnU-Net has it.
        image = np.concatenate([_intensities(image[c : c + 1], rng) for c in range(len(image))])
    return np.ascontiguousarray(image), np.ascontiguousarray(labels)


def _flipped(image: Values, labels: Values, rng: np.random.Generator) -> tuple[Values, Values]:
    for axis in range(3):
        if rng.random() < 0.5:
            image, labels = np.flip(image, axis + 1), np.flip(labels, axis)
    if labels.shape[1] == labels.shape[2] and rng.random() < 0.5:
        image, labels = image.swapaxes(2, 3), labels.swapaxes(1, 2)
    return image, labels


def _turned(
    image: Values, labels: Values, rng: np.random.Generator, voxel_nm: tuple[float, ...]
) -> tuple[Values, Values]:
    """Rotated and scaled; within planes only where z is coarse. What comes from outside is not painted."""
    turn, scale = rng.random() < ROTATE, rng.random() < SCALE
    angles, zoom = rng.uniform(-1, 1, 3), rng.uniform(0.7, 1.4)
    if not (turn or scale):
        return image, labels
    deep = image.shape[1] > 1 and voxel_nm[0] < COARSE_AXIS * min(voxel_nm[1:])
    sizes = np.array(voxel_nm) / min(voxel_nm)
    matrix = np.eye(3)
    if turn:
        # nnU-Net turns thick windows by at most 30 degrees, and planes all around.
        most = [np.pi / 6, np.pi / 6, np.pi / 6] if deep else [np.pi, 0, 0]
        for axis, angle in enumerate(angles * most):
            matrix = matrix @ _rotation(axis, angle)
        # About nm, not voxels.
        matrix = matrix * sizes[None, :] / sizes[:, None]
    if scale:
        matrix = matrix * (np.array([zoom, zoom, zoom]) if deep else np.array([1, zoom, zoom]))[:, None]
    return _resampled(image, labels, matrix, deep)


def _rotation(axis: int, angle: float) -> Values:
    c, s = np.cos(angle), np.sin(angle)
    i, j = [a for a in range(3) if a != axis]
    made = np.eye(3)
    made[i, i] = made[j, j] = c
    made[i, j], made[j, i] = -s, s
    return made


def _resampled(image: Values, labels: Values, matrix: Values, deep: bool) -> tuple[Values, Values]:
    """Linearly interpolated intensities, reflected at the faces, and nearest labels."""
    import torch

    shape = np.array(labels.shape, float)
    # Pixels about the centre to torch's coordinates, which go from -1 to 1 and have x first.
    inverse = matrix * shape[None, :] / shape[:, None]
    channels, known = torch.from_numpy(image), torch.from_numpy(labels.astype(np.float32) - IGNORE)
    if deep:
        theta = torch.tensor(inverse[::-1, ::-1].copy(), dtype=torch.float32)
        theta = torch.cat([theta, torch.zeros(3, 1)], 1)[None]
        grid = torch.nn.functional.affine_grid(theta, [1, 1, *labels.shape], align_corners=False)
        moved = _sampled(channels[None], grid, "bilinear", "reflection")[0]
        target = _sampled(known[None, None], grid, "nearest", "zeros")[0, 0]
    else:
        theta = torch.tensor(inverse[:0:-1, :0:-1].copy(), dtype=torch.float32)
        theta = torch.cat([theta, torch.zeros(2, 1)], 1)[None]
        grid = torch.nn.functional.affine_grid(theta, [1, 1, *labels.shape[1:]], align_corners=False)
        planes = channels.flatten(0, 1)[None]
        moved = _sampled(planes, grid, "bilinear", "reflection")[0].reshape(channels.shape)
        target = _sampled(known[None], grid, "nearest", "zeros")[0]
    return moved.numpy(), (target.numpy() + IGNORE).astype(labels.dtype)


def _sampled(values: Any, grid: Any, mode: str, outside: str) -> Any:
    import torch

    return torch.nn.functional.grid_sample(values, grid, mode, outside, align_corners=False)


def _slices(image: Values, labels: Values, rng: np.random.Generator) -> tuple[Values, Values]:
    """What happens to single slices: lost, shifted, of another contrast, out of focus."""
    depth = image.shape[1]
    if depth > 2 and rng.random() < MISSING:
        image[:, int(rng.integers(depth))] = rng.uniform(-3, 0)
    if depth > 2 and rng.random() < SHIFT:
        # From one slice on, everything lies beside its place, and the labels with it.
        z, most = int(rng.integers(1, depth)), max(1, min(image.shape[2:]) // 32)
        by = tuple(int(n) for n in rng.integers(-most, most + 1, 2))
        image[:, z:] = np.roll(image[:, z:], by, (2, 3))
        labels = labels.copy()
        labels[z:] = np.roll(labels[z:], by, (1, 2))
    if rng.random() < STEP:
        z = int(rng.integers(depth))
        end = depth if rng.random() < 0.5 else z + 1
        image[:, z:end] = image[:, z:end] * np.float32(rng.uniform(0.7, 1.4)) + np.float32(
            rng.uniform(-0.5, 0.5)
        )
    if rng.random() < DEFOCUS:
        z = int(rng.integers(depth))
        image[:, z] = _blurred(image[:, z], float(rng.uniform(0.7, 2.0)), (1, 2))
    return image, labels


def _stained(
    image: Values, labels: Values, rng: np.random.Generator, voxel_nm: tuple[float, ...]
) -> tuple[Values, Values]:
    """A part of the first channel darker or brighter, and flatter, than it was; its labels stay.

    The part is a level set of smooth noise: a band about a level (a sheath) or all above it (a cell). Where
    hardly anything of the tissue shows through, nobody could tell a class: what had one is not painted.
    """
    if rng.random() >= STAIN:
        return image, labels
    size = float(np.exp(rng.uniform(*np.log(STAIN_NM))))
    noise = _smooth(labels.shape, [size / v for v in voxel_nm], rng)
    level = float(rng.uniform(-1, 1)) if rng.random() < 0.5 else float(rng.uniform(0.5, 1.5))
    width = float(rng.uniform(0.1, 0.5)) if abs(level) <= 1 and rng.random() < 0.6 else None
    inside = noise - level if width is None else width - np.abs(noise - level)
    soft = np.clip(inside / 0.1 + 0.5, 0, 1).astype(np.float32)
    shows = float(rng.uniform(0, 0.8))
    by = float(rng.uniform(0.7, 2.5)) * (-1 if rng.random() < DARK else 1)
    image[0] = image[0] * (1 - soft) + (image[0] * np.float32(shows) + np.float32(by)) * soft
    if shows < 0.4:
        labels = np.where((soft > 0.5) & (labels > 0), np.int16(IGNORE), labels)
    return image, labels


def _smooth(shape: tuple[int, ...], sides: list[float], rng: np.random.Generator) -> Values:
    """Noise of mean 0 and deviation 1 that varies over so many voxels along each axis."""
    import torch

    small = [max(2, int(np.ceil(n / s)) + 1) for n, s in zip(shape, sides, strict=True)]
    coarse = torch.from_numpy(rng.standard_normal((1, 1, *small), np.float32))
    made = torch.nn.functional.interpolate(coarse, shape, mode="trilinear", align_corners=True)[0, 0].numpy()
    for axis in (1, 2):
        made = _blurred(made, 0.2 * sides[axis], (axis,))
    found: Values = (made - made.mean()) / max(float(made.std()), 1e-7)
    return found


def _intensities(image: Values, rng: np.random.Generator) -> Values:
    if rng.random() < NOISE:
        noise = rng.standard_normal(image.shape, np.float32)
        image = image + noise * np.float32(np.sqrt(rng.uniform(0, 0.1)))
    if rng.random() < BLUR:
        image = _blurred(image, float(rng.uniform(0.5, 1.0)), (2, 3) if image.shape[1] < 8 else (1, 2, 3))
    if rng.random() < BRIGHTNESS:
        image = image * np.float32(rng.uniform(0.75, 1.25))
    if rng.random() < CONTRAST:
        mean, low, high = image.mean(), image.min(), image.max()
        image = ((image - mean) * np.float32(rng.uniform(0.75, 1.25)) + mean).clip(low, high)
    if rng.random() < COARSE:
        image = _coarsened(image, float(rng.uniform(0.5, 1.0)))
    if rng.random() < GAMMA:
        image = _gamma(image, float(rng.uniform(0.7, 1.5)), inverted=bool(rng.random() < 0.25))
    return np.ascontiguousarray(image, np.float32)


def _blurred(image: Values, sigma: float, axes: tuple[int, ...]) -> Values:
    for axis in axes:
        image = gaussian_filter1d(image, sigma, axis, truncate=3.0)
    return image


def _coarsened(image: Values, factor: float) -> Values:
    """As if planes had been imaged with fewer pixels."""
    import torch

    planes = torch.from_numpy(np.ascontiguousarray(image)).flatten(0, 1)[:, None]
    small = [max(1, round(n * factor)) for n in image.shape[2:]]
    made = torch.nn.functional.interpolate(planes, small, mode="nearest-exact")
    made = torch.nn.functional.interpolate(made, image.shape[2:], mode="bicubic", align_corners=False)
    found: Values = made.reshape(image.shape).numpy()
    return found


def _gamma(image: Values, gamma: float, *, inverted: bool) -> Values:
    """Intensities bent, with mean and deviation as they were."""
    sign = np.float32(-1 if inverted else 1)
    image = image * sign
    mean, deviation, low = image.mean(), image.std(), image.min()
    span = max(float(image.max() - low), 1e-7)
    bent = ((image - low) / np.float32(span)) ** np.float32(gamma) * np.float32(span) + low
    bent = (bent - bent.mean()) / max(float(bent.std()), 1e-7) * deviation + mean
    found: Values = bent * sign
    return found
