"""Which level of a pyramid a network wants, and whether its voxels must be resampled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chunkflow_liver.errors import ConfigError, InputError, SegmenterError
from chunkflow_liver.geometry import Nm, Zyx, zyx
from chunkflow_liver.segmenters.limits import NM_PER, VOXEL
from chunkflow_liver.segmenters.model import Model
from chunkflow_liver.segmenters.resampling import NNUNET_FUNCTION, Resampling, coarse_axis, resampled_shape

SAME_RATIO = 1.01
MOST_RATIO = 1.5
DIGITS = 9
UNIT_DIGITS = 12
"""Digits of a size that count when its unit changes: 16.5 nm are 0.0165 um, not 0.016500000000000001."""


@dataclass(frozen=True)
class Fit:
    """A level and a model's spacing, put side by side; as text, what was taken and why.

    Attributes
    ----------
    level : int
        Of the pyramid.
    voxel_nm : Nm
        Voxel size of the level.
    wanted_nm : tuple of float or None, optional
        Voxel size that the network sees along the stored axes; None along an axis it does not see, and
        altogether if spacing is ignored.
    unit : str
        What the spacing in plans.json was taken to be in.
    declared : bool
        Whether the model's folder or the user said so, or it was assumed.
    """

    level: int
    voxel_nm: Nm
    wanted_nm: tuple[float | None, ...] | None
    unit: str
    declared: bool

    @property
    def ratio(self) -> float:
        """How many times larger or smaller voxels are than wanted, along the axis where it is most."""
        return 1.0 if self.wanted_nm is None else _ratio(self.voxel_nm, self.wanted_nm)

    @property
    def resamples(self) -> bool:
        """Whether voxels are resampled to the model's spacing."""
        return self.ratio > SAME_RATIO

    @property
    def network_nm(self) -> Nm:
        """Size of the voxels that the network is given."""
        if self.wanted_nm is None or not self.resamples:
            return self.voxel_nm
        z, y, x = (v if w is None else w for v, w in zip(self.voxel_nm, self.wanted_nm, strict=True))
        return z, y, x

    def __str__(self) -> str:
        level = f"level {self.level} ({_sizes(self.voxel_nm)} nm)"
        if self.wanted_nm is None:
            return f"{level} as it is: the model's spacing is ignored"
        said = f"{self.unit} declared" if self.declared else "no unit declared, nm assumed"
        model = f"model of {_sizes(self.wanted_nm)} nm ({said})"
        how = f"resampled, up to {self.ratio:.3g} x" if self.resamples else "not resampled"
        return f"{level} for a {model}: {how}"


def nearest(
    levels: Mapping[int, Nm],
    model: Model,
    *,
    image: str,
    units: str | None = None,
    accept: bool = False,
) -> Fit:
    """The level whose voxels are nearest to those that a model was trained on.

    Parameters
    ----------
    levels : mapping of int to Nm
        Voxel size (z, y, x) of every level to choose from; of one, if the user chose.
    model : Model
    image : str
        Where the levels lie, for messages.
    units : {"nm", "um", "mm", "m", "voxel"}, optional
        What the spacing in plans.json is in, which nnU-Net does not write down; nm if nobody says.
        "voxel" ignores the spacing: the first of `levels` is used as it is.
    accept : bool
        Whether a level more than 1.5 times off is resampled instead of refused.

    Returns
    -------
    Fit

    Raises
    ------
    ConfigError
        If there is no such unit, or the folder says another one.
    InputError
        If every level is too far off.
    SegmenterError
        If voxels must be resampled, and plans.json asks for another way than nnU-Net's default.

    Notes
    -----
    Of an axis, the ratio of the larger to the smaller voxel size counts; of a level, the largest ratio over
    the axes that the network sees; of levels with equal ratios, the finest is taken. Up to 1 % is the same.
    """
    unit = spacing_unit(model, units)
    declared = units is not None or model.units is not None
    if unit == VOXEL:
        level, voxel_nm = min(levels.items())
        return Fit(level, voxel_nm, None, unit, declared)
    wanted = _in_nm(model, unit)
    level = min(sorted(levels), key=lambda n: round(_ratio(levels[n], wanted), DIGITS))
    fit = Fit(level, levels[level], wanted, unit, declared)
    if fit.ratio > MOST_RATIO and not accept:
        others = [
            u
            for u in NM_PER
            if any(_ratio(voxel_nm, _in_nm(model, u)) <= MOST_RATIO for voxel_nm in levels.values())
        ]
        hint = (
            f"{others[0]!r} would fit: say spacing_units={others[0]!r} if that is what it was trained with"
            if others and model.units is None
            else "choose another image or model, say accept_spacing=True to resample it all the same, or "
            "spacing_units='voxel' to use it as it is"
        )
        raise InputError(
            f"{image} level {level} has voxels of {_sizes(fit.voxel_nm)} nm, the nearest of {len(levels)} "
            f"level(s), but the model in {model.folder} was trained on {_sizes(wanted)} nm ({unit} "
            f"{'said' if declared else 'assumed'}): {fit.ratio:.3g} times off, wanted at most {MOST_RATIO}; "
            f"{hint}"
        )
    if model.score_spline.order > 1 and (fit.resamples or level != min(levels)):
        raise SegmenterError(
            f"the model in {model.folder} resamples scores by a spline of order {model.score_spline.order}; "
            "only 0 and 1 (nnU-Net's default) are known here"
        )
    for spline in (model.raw_spline, model.score_spline):
        if fit.resamples and spline.function != NNUNET_FUNCTION:
            raise SegmenterError(
                f"{image} level {level} has voxels of {_sizes(fit.voxel_nm)} nm, the model in {model.folder} "
                f"was trained on {_sizes(wanted)} nm and resamples by {spline.function!r}; only "
                f"{NNUNET_FUNCTION!r} is known here, so give an image of the model's voxel size, or say "
                "spacing_units='voxel' to use this one as it is"
            )
    return fit


def spacing_unit(model: Model, units: str | None) -> str:
    """What the model's spacing is in: as the folder says, as the user says, or nm."""
    if units is None:
        return model.units or "nm"
    if units not in (*NM_PER, VOXEL):
        raise ConfigError(f"no unit {units!r} of a model's spacing; there are {[*NM_PER, VOXEL]}")
    if model.units not in (None, units) and units != VOXEL:
        raise ConfigError(
            f"the spacing of the model in {model.folder} is in {model.units!r} since it was imported, got "
            f"spacing_units={units!r}; leave it out, or import the model again with --units {units}"
        )
    return units


def resamplings(fit: Fit, crop: Zyx, model: Model, factor: Zyx = (1, 1, 1)) -> tuple[Resampling, Resampling]:
    """How raw voxels come to the network's spacing, and scores back; both along the network's axes.

    Parameters
    ----------
    fit : Fit
    crop : Zyx
        Voxels of the cropped volume along the network's axes.
    model : Model
    factor : Zyx
        How much finer the voxels are, along the network's axes, to which scores come back.

    Notes
    -----
    nnU-Net decides by sizes in the unit of its plans whether an axis is coarse (more than 3 times longer) and
    how many voxels there will be. So it is done here: 16.5 / 5.5 is 3, but 0.0165 / 0.0055 is more.
    """
    here, network = _in_plans(fit, model)
    there = tuple(here[axis] for axis in model.transpose_forward)
    wanted = tuple(network[axis] for axis in model.transpose_forward)
    seen = resampled_shape(crop, there, wanted) if fit.resamples else crop
    fine = zyx([n * f for n, f in zip(crop, factor, strict=True)])
    written = tuple(v / f for v, f in zip(there, factor, strict=True))
    return (
        Resampling.between(crop, seen, there, wanted, model.raw_spline),
        Resampling.between(seen, fine, wanted, written, model.score_spline),
    )


def plane_axis(fit: Fit, model: Model) -> int | None:
    """Stored axis whose planes are resampled one by one, each clipped to its own range; mostly None."""
    if not fit.resamples:
        return None
    here, network = _in_plans(fit, model)
    there = [here[axis] for axis in model.transpose_forward]
    wanted = [network[axis] for axis in model.transpose_forward]
    axis = coarse_axis(there, wanted, model.raw_spline.force_separate_z)
    return None if axis is None else model.transpose_forward[axis]


def _in_plans(fit: Fit, model: Model) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Voxel sizes of the level and of the network, in the unit of the plans and as decimals state them."""
    per = NM_PER.get(fit.unit, 1.0)
    here = tuple(float(f"{v / per:.{UNIT_DIGITS}g}") for v in fit.voxel_nm)
    if fit.wanted_nm is None or not fit.resamples:
        return here, here
    network = (v if w is None else w for v, w in zip(here, model.spacing_zyx, strict=True))
    return here, tuple(network)


def _in_nm(model: Model, unit: str) -> tuple[float | None, ...]:
    return tuple(None if v is None else v * NM_PER[unit] for v in model.spacing_zyx)


def _ratio(voxel_nm: Nm, wanted: tuple[float | None, ...]) -> float:
    return max((max(v / w, w / v) for v, w in zip(voxel_nm, wanted, strict=True) if w), default=1.0)


def _sizes(values: tuple[float | None, ...]) -> str:
    return "(" + ", ".join("any" if v is None else f"{v:.4g}" for v in values) + ")"
