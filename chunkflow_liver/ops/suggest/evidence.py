"""What speaks for painting in one place rather than another: what a run has, or is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chunkflow_liver.engine.plan import Product
from chunkflow_liver.engine.written import read_products
from chunkflow_liver.errors import InputError
from chunkflow_liver.ops.steps.place import PathLike, checked_labels, known_of, same_voxels, work_folder
from chunkflow_liver.store.create import is_complete
from chunkflow_liver.store.table import Arrays
from chunkflow_liver.store.volume import Volume


@dataclass(frozen=True)
class Evidence:
    """What speaks for painting in one place rather than another; all images on the same voxels.

    Attributes
    ----------
    raw : Volume
        The image.
    uncertainty : sequence of Volume
        Uncertainty as `segment` keeps it (uint8, 255 for 1); the mean of several.
    scores : sequence of Volume
        Class scores as `segment` keeps them (uint8, 255 for 1): the entropy of each, alone, is an
        uncertainty.
    labels : sequence of Volume
        Results of several folds, models or settings, which are compared: classes by their names, or, where
        none are stated, instances. The first one's classes are those of the empty labels.
    seams : sequence of Volume
        Instances that `split` or `stitch` joined in the same work folder; they know which seams disagree.
    painted : sequence of mapping
        Sources of a training, as `train` takes them; those of other images are passed over.
    """

    raw: Volume
    uncertainty: Sequence[Volume] = ()
    scores: Sequence[Volume] = ()
    labels: Sequence[Volume] = ()
    seams: Sequence[Volume] = ()
    painted: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def of_run(
        cls,
        work: PathLike,
        *,
        labels: Sequence[Volume] = (),
        painted: Sequence[Mapping[str, Any]] = (),
    ) -> Evidence:
        """All that the run in a work folder has, with further label images and sources of a training.

        Raises
        ------
        InputError
            If no run was there, it has no image, or a segmentation is not finished.
        """
        folder = work_folder(work)
        if not (folder / "products.json").exists():
            raise InputError(
                f"{folder} is no work folder of a run: it has no products.json; give the folder that a "
                "segmentation was run in"
            )
        products = read_products(folder)
        for volume in _made(products):
            if not (volume.exists() and is_complete(volume)):
                raise InputError(f"{volume.name!r} of {folder} is not finished; run it to its end first")
        return cls.of_products(products, labels=labels, painted=painted, where=str(folder))

    @classmethod
    def of_products(
        cls,
        products: Iterable[Product],
        *,
        labels: Sequence[Volume] = (),
        painted: Sequence[Mapping[str, Any]] = (),
        where: str = "the run",
    ) -> Evidence:
        """What of some products speaks for a place; scores only where there is no uncertainty.

        Raises
        ------
        InputError
            If there is no image among them.
        """
        found = list(products)
        volumes = {p.name: p.handle for p in found if isinstance(p.handle, Volume)}
        raw = next((volumes[p.name] for p in found if p.kind == "raw"), None)
        if raw is None:
            raise InputError(f"{where} has no image to paint on; give the run file an 'input'")
        classes = [p.name for p in found if p.kind == "semantic"]
        kept = [p.name for p in found if p.kind == "score"]
        uncertain = [volumes[n] for n in kept if n in {f"{c}-uncertainty" for c in classes}]
        scores = [volumes[n] for n in kept if n.startswith(tuple(f"{c}-score-" for c in classes))]
        joined = [str(dict(p.about).get("instances")) for p in found if p.kind == "seam table"]
        return cls(
            raw,
            uncertain,
            () if uncertain else scores,
            [*(volumes[n] for n in classes), *labels],
            [volumes[n] for n in joined if n in volumes],
            painted,
        )

    def checked(self) -> Evidence:
        """The same, if it can be used.

        Raises
        ------
        InputError
            If images do not lie on the same voxels, hold no uncertainty, or are classes and instances.
        """
        for volume in (*self.uncertainty, *self.scores):
            if volume.dtype != "uint8":
                raise InputError(
                    f"{volume.url} holds {volume.dtype} voxels; uncertainty and scores are uint8, 255 for 1, "
                    "as segment keeps them with 'uncertainty: entropy' or 'scores'"
                )
        labels = [checked_labels(volume, "classes and instances") for volume in self.labels]
        if len({bool(volume.classes) for volume in labels}) > 1:
            named = [volume.name for volume in labels if volume.classes]
            raise InputError(
                f"{named} are classes and {[v.name for v in labels if not v.classes]} "
                "state none, so they are instances: compare classes with classes, instances with instances"
            )
        return replace(self, labels=labels)

    @property
    def compared(self) -> tuple[Volume, ...]:
        """Label images, if there are several to be compared."""
        return tuple(self.labels) if len(self.labels) > 1 else ()

    @property
    def images(self) -> tuple[Volume, ...]:
        """What is read block by block."""
        return (*self.uncertainty, *self.scores, *self.compared)

    def frame(self) -> Volume:
        """The volume on whose voxels all lie.

        Raises
        ------
        InputError
            If they do not.
        """
        first, *others = (*self.uncertainty, *self.scores, *self.labels, self.raw)
        for volume in others:
            same_voxels(first, volume, "suggest needs all on the same voxels")
        return first

    def joined(self, work: PathLike) -> dict[str, Arrays]:
        """What is known of the seams of instances.

        Raises
        ------
        InputError
            If they were not joined over seams in this work folder.
        """
        found: dict[str, Arrays] = {}
        for i, volume in enumerate(self.seams):
            arrays = known_of(work, volume)
            planned = not arrays.exists() and not volume.exists()
            if not planned and not (arrays.exists() and "seam_score" in arrays.names()):
                raise InputError(
                    f"nothing is known of seams of {volume.url} in {work_folder(work)}: give instances that "
                    "split or stitch made there"
                )
            found[f"seams_{i}"] = arrays
        return found


def _made(products: Sequence[Product]) -> list[Volume]:
    """Volumes that stages of the run make, of those that are looked at."""
    joined = {str(dict(p.about).get("instances")) for p in products if p.kind == "seam table"}
    return [
        p.handle
        for p in products
        if isinstance(p.handle, Volume)
        and (
            p.kind == "score"
            or (p.kind == "semantic" and "model" in dict(p.about))
            or (p.kind == "instances" and p.name in joined)
        )
    ]
