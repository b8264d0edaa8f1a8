"""Agreement with a ground truth, out of core: classes, instances, surfaces, slice by slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from chunkflow_liver.engine.plan import Kind, Plan, Product
from chunkflow_liver.engine.stage import Fold, Map, Stage
from chunkflow_liver.errors import ConfigError, InputError
from chunkflow_liver.geometry import BlockGrid, Box, Zyx, voxels, zyx
from chunkflow_liver.ops.evaluate.tables import (
    Classes,
    class_table,
    count_block,
    count_surfaces,
    count_windows,
    instance_table,
    object_table,
    slice_table,
    surface_table,
    window_table,
)
from chunkflow_liver.ops.steps.operation import operation
from chunkflow_liver.ops.steps.place import (
    PathLike,
    checked_labels,
    known_in_all,
    same_voxels,
    table_at,
    work_folder,
)
from chunkflow_liver.store.table import Columns
from chunkflow_liver.store.volume import Volume

__all__ = ["Compared", "evaluate"]


@dataclass(frozen=True)
class Compared:
    """Which voxels are compared, and what their numbers mean.

    Attributes
    ----------
    ignore : int, optional
        Number in the truth of voxels that are not compared.
    slices : sequence of int, optional
        Numbers of the z slices that are compared, where nobody painted the others.
    classes : mapping of str to int, optional
        Numbers of the classes in a volume that states none.
    raw : Volume, optional
        Image on the same voxels, on which the report draws errors.
    """

    ignore: int | None = None
    slices: Sequence[int] | None = None
    classes: Mapping[str, int] | None = None
    raw: Volume | None = None

    def __post_init__(self) -> None:
        if self.ignore is not None and not _counts(self.ignore, 1):
            raise ConfigError(
                f"ignore is the number of voxels that are not compared, from 1 on; got {self.ignore!r}"
            )
        if self.slices is not None and not (len(self.slices) and all(_counts(z, 0) for z in self.slices)):
            raise ConfigError(f"slices are whole numbers of z slices, got {self.slices!r}")
        numbers = [] if self.classes is None else list(self.classes.values())
        if not all(_counts(n, 1) for n in numbers) or len(set(numbers)) < len(numbers):
            raise ConfigError(f"classes have numbers of their own from 1 on, got {self.classes}")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Compared:
        """From keyword arguments."""
        known = [f.name for f in fields(cls)]
        unknown = sorted(options.keys() - set(known))
        if unknown:
            raise ConfigError(f"evaluate has no option {unknown}; there are {known}")
        return cls(**options)


def _counts(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


@operation
def evaluate(
    found: Volume,
    truth: Volume,
    *,
    iou: float | Sequence[float] | None = None,
    surfaces_nm: tuple[float, float] | None = None,
    per_slice: bool = False,
    name: str,
    work: PathLike,
    block: Zyx | None = None,
    **options: Any,
) -> Plan:
    """Plan tables that compare labels with the truth on the same voxels.

    Parameters
    ----------
    found, truth : Volume
        Semantic volumes, compared class by class (by name); or instances, with `iou`.
    iou : float or sequence of float, optional
        Compare instances: a found and a true one match if their IoU is above 0.5, or reaches a
        larger value given here; one row for each value.
    surfaces_nm : (float, float), optional
        Compare surfaces of classes, too: the tolerance within which they agree, and the largest distance
        that is told from larger ones.
    per_slice : bool
        Compare every z slice by itself, too, and find the windows of slices with most wrong voxels.
    name : str
        Name of the table. Beside it: `<name>-objects` with `iou`, `<name>-surfaces`, and `<name>-slices`
        and `<name>-worst` of single slices.
    {work}
    {block}
    **options
        Fields of `Compared`: `ignore`, the number in the truth of voxels that are not compared; `slices`,
        numbers of the z slices that are, where nobody painted the others; `classes`, numbers of the classes
        in a volume that states none; `raw`, an image on the same voxels, on which the report draws errors.

    Returns
    -------
    Plan
        Its `output` is a `Table`: `class, dice, iou, precision, recall, under_segmentation,
        over_segmentation, voxels_found, voxels_truth`, a row for every class of either volume, and one for
        numbers that no class has; or `iou_threshold, matched, found, truth, precision, recall, f1, mean_iou,
        pq, ari, vi_split, vi_merge, false_merges, false_splits`.

    Raises
    ------
    ConfigError, InputError
        If the volumes hold no labels, do not lie on the same voxels or share no class, or a setting makes
        no sense.

    Notes
    -----
    Where the found labels were made in a part of the volume only, that part is compared.
    """
    thresholds = None if iou is None else [iou] if isinstance(iou, int | float) else list(iou)
    of = Compared.of(options)
    _check(thresholds, surfaces_nm)
    found, truth = (checked_labels(volume, "classes and instances") for volume in (found, truth))
    same_voxels(found, truth, "evaluate needs both on the same voxels")
    if of.raw is not None:
        same_voxels(of.raw, truth, "errors are drawn on an image of the same voxels")
    both = (found, truth)
    kinds = _classes(found, truth, of.classes) if thresholds is None else []
    planes = None if of.slices is None else _planes(of.slices, truth)
    seen = known_in_all(found, truth)
    box = seen.box
    if planes is not None:
        box = box.clip(Box((planes[0], 0, 0), (planes[-1] + 1, *truth.shape[1:])))
        if not box.size:
            raise InputError(
                f"{found.url} was segmented in {found.known} only, and none of the slices {planes} lies there"
            )
    grid = BlockGrid(box, block or zyx(list(found.write_unit)))
    only: dict[str, Any] = {"ignore": of.ignore, "slices": planes, "seen": seen}
    per: dict[str, Any] = {"iou": thresholds, "classes": kinds}
    about: tuple[tuple[str, Any], ...] = (
        ("found", found.name),
        ("truth", truth.name),
        ("iou", thresholds[0] if thresholds else None),
        ("ignore", of.ignore),
        ("slices", planes),
        ("classes", kinds),
        ("images", {"found": found, "truth": truth} | ({} if of.raw is None else {"raw": of.raw})),
    )
    stages: list[Stage] = [Map(f"{name}/overlap", count_block, grid, both, params=only, working=24.0)]
    products: list[Product] = []

    def made(kind: Kind, end: str, function: Callable[..., Columns], **params: Any) -> None:
        """A table of the last map."""
        table = table_at(work, f"{name}{end}")
        over = next(stage.name for stage in reversed(stages) if isinstance(stage, Map))
        stages.append(
            Fold(f"{name}/{end.removeprefix('-') or 'table'}", function, over, table, params=params)
        )
        products.append(Product(kind, f"{name}{end}", table, about))

    if thresholds is None:
        made("evaluation", "", class_table, classes=kinds)
    else:
        made("evaluation", "", instance_table, iou=thresholds)
        made("object evaluation", "-objects", object_table)
    if per_slice:
        stages.append(Map(f"{name}/windows", count_windows, grid, both, params=only, working=24.0))
        made("slice evaluation", "-slices", slice_table, **per)
        made("worst windows", "-worst", window_table, **per)
    if surfaces_nm is not None:
        tolerance, cap = surfaces_nm
        halo = zyx([n + 1 for n in voxels(cap, found.voxel_nm)])
        params = {**only, "classes": kinds, "voxel_nm": found.voxel_nm, "cap_nm": cap}
        wide = BlockGrid(box, grid.block, halo, halo)
        stages.append(Map(f"{name}/distances", count_surfaces, wide, both, params=params, working=24.0))
        end = {"names": [c for c, _, _ in kinds], "tolerance_nm": tolerance, "cap_nm": cap}
        made("surface evaluation", "-surfaces", surface_table, **end)
    return Plan(tuple(stages), work_folder(work), table_at(work, name), tuple(products))


def _classes(found: Volume, truth: Volume, named: Mapping[str, int] | None) -> Classes:
    """Every class of either volume, with its numbers."""
    # Number 0 is background, which an image may state alone.
    mine, there = ({c: n for c, n in volume.classes if n} or dict(named or {}) for volume in (found, truth))
    for volume, stated in ((found, mine), (truth, there)):
        if not stated:
            raise InputError(
                f"{volume.url} states no classes: give their numbers, as 'classes: {{mitochondrion: 1}}', "
                "or an 'iou' if it holds ids of objects"
            )
    if not mine.keys() & there.keys():
        raise InputError(
            f"{found.url} and {truth.url} have no class name in common: {mine} and {there}; "
            "write one again with the names of the other"
        )
    return [(c, mine.get(c), there.get(c)) for c in {**mine, **there}]


def _planes(slices: Sequence[int], truth: Volume) -> list[int]:
    """Numbers of slices, sorted."""
    odd = [z for z in slices if z >= truth.shape[0]]
    if odd:
        raise ConfigError(f"there is no slice {odd[0]} of {truth.url}; it has 0 to {truth.shape[0] - 1}")
    return sorted(set(slices))


def _check(thresholds: Sequence[float] | None, surfaces_nm: tuple[float, float] | None) -> None:
    for value in thresholds or ():
        if not 0.5 <= value <= 1:
            raise ConfigError(
                f"iou lies between 0.5 (below, a match would not be unique) and 1, got {value!r}"
            )
    if thresholds == []:
        raise ConfigError("iou is one value, or several; got none")
    if surfaces_nm is not None and not (
        len(surfaces_nm) == 2 and 0 <= surfaces_nm[0] < surfaces_nm[1] < float("inf")
    ):
        raise ConfigError(f"surfaces_nm is a tolerance and a larger cap, in nm, got {tuple(surfaces_nm)}")
    if thresholds is not None and surfaces_nm is not None:
        raise ConfigError("surfaces are compared class by class, not with 'iou', for instances")
