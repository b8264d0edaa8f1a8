"""Which stage after an edit does again what another one did before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from chunkflow_liver.engine.pyramid import is_pyramid
from chunkflow_liver.engine.stage import Map, Readable, Stage, handle_key, makes, plain, volume_of
from chunkflow_liver.store.volume import Volume


@dataclass(frozen=True)
class Before:
    """What a stage of an edited image does again.

    Attributes
    ----------
    name : str
        Who did it: a stage, or the image before the edit.
    stage : Map or None
        That stage; None where the outputs alone are taken over.
    outputs : tuple of Volume
        What it made, in the order of the outputs of the new stage.
    """

    name: str
    stage: Map | None
    outputs: tuple[Volume, ...]


@dataclass(frozen=True)
class Pairs:
    """What the stages of a plan can take over from others.

    Attributes
    ----------
    maps : tuple of Map
        All of the plan, in order.
    makers : mapping of Map
        By the key of what they make.
    before : mapping of Before
        By the name of the stage that takes over.
    """

    maps: tuple[Map, ...]
    makers: Mapping[str, Map]
    before: dict[str, Before] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """What a person should know of it before a run."""
        return [
            f"{name}: blocks that no edit touches are taken over from {before.name}"
            for name, before in self.before.items()
        ]

    def after(self) -> dict[str, str]:
        """Which stage each stage takes over from, by name: that one is to be done before."""
        return {name: b.stage.name for name, b in self.before.items() if b.stage is not None}

    def maker(self, volume: Volume | None) -> Map | None:
        """The stage that makes a volume; None if no stage does."""
        return None if volume is None else self.makers.get(handle_key(volume))

    def _before(self, stage: Map) -> Before | None:
        if stage.changed_in:
            edited = volume_of(stage.inputs[0])
            return None if edited is None else Before(edited.name, None, (edited,))
        inputs = tuple(self._unedited(source) for source in stage.inputs)
        if inputs == stage.inputs:
            return None
        wanted = replace(stage, inputs=inputs)
        for other in self.maps:
            if other is not stage and _alike(wanted, other):
                return Before(other.name, other, other.outputs)
        if is_pyramid(stage) and (below := volume_of(inputs[0])) is not None:
            # The map that made the image may have made its next level along with it.
            levels = [v for v in below.pyramid() if v.level == stage.outputs[0].level]
            if levels and (maker := self.makers.get(handle_key(levels[0]))) is not None:
                made = tuple(o for o in maker.outputs if handle_key(o) == handle_key(levels[0]))
                if _looks(made) == _looks(stage.outputs):
                    return Before(maker.name, None, made)
        return None

    def _unedited(self, source: Readable) -> Readable:
        """`source` as it was before the edit that it depends on; itself, if there is none."""
        volume = volume_of(source)
        maker = self.maker(volume)
        if volume is None or maker is None or maker.name not in self.before:
            return source
        at = [handle_key(output) for output in maker.outputs].index(handle_key(volume))
        outputs = self.before[maker.name].outputs
        if at >= len(outputs):
            return source
        # Of both the same part is looked at.
        earlier = replace(
            outputs[at],
            region=volume.region,
            mask=volume.mask,
            blank=volume.blank,
            ids=volume.ids,
            complete=volume.complete,
        )
        return earlier if source is volume else replace(source, volume=earlier)  # type: ignore[type-var]


def paired(stages: Sequence[Stage]) -> Pairs:
    """What can be taken over in a plan of these stages."""
    maps = tuple(stage for stage in stages if isinstance(stage, Map))
    found = Pairs(maps, {key: stage for stage in maps for key in makes(stage)})
    for stage in maps:
        # What streams may read anything, unless it says what.
        unknown = (stage.streams and stage.owners is None) or stage.beside is not None
        if not unknown and (before := found._before(stage)):
            found.before[stage.name] = before
    return found


def _alike(one: Map, two: Map) -> bool:
    """Whether two maps do the same on the same voxels, but for their artefacts, and make things alike."""
    if one.function is not two.function or one.grid != two.grid or one.device != two.device:
        return False
    if len(one.inputs) != len(two.inputs) or one.artefacts.keys() != two.artefacts.keys():
        return False
    settings = (plain(m.params if m.identity is None else m.identity) for m in (one, two))
    return (
        _looks(one.outputs) == _looks(two.outputs)
        and all(_same_voxels(a, b) for a, b in zip(one.inputs, two.inputs, strict=True))
        and next(settings) == next(settings)
    )


def _looks(outputs: Sequence[Volume]) -> list[Volume]:
    """Outputs without where they lie and whose labels they are."""
    return [replace(o, url="", source=None, called=None) for o in outputs]


def _same_voxels(one: Readable, two: Readable) -> bool:
    if one == two:
        return True
    a, b = volume_of(one), volume_of(two)
    if a is None or b is None or type(one) is not type(two) or one.shape != two.shape:
        return False
    kept = ("at", "dtype", "shape", "voxel_nm", "origin_nm", "region", "mask", "blank", "ids", "complete")
    seen = ((handle_key(v), *(getattr(v, name) for name in kept)) for v in (a, b))
    return next(seen) == next(seen)
