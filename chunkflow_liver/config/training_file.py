"""The run file of a training: sources, network, steps, and what is held out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from chunkflow_liver.config.declaring import Name, Refers, Section
from chunkflow_liver.config.images import Index, Nm
from chunkflow_liver.config.reading import read_content, validated
from chunkflow_liver.config.run_file import LISTS
from chunkflow_liver.errors import ConfigError

Corner = tuple[float, float, float]
Count = Annotated[int, Field(ge=1)]


class Source(Section):
    """An image, its labels, and what of them is painted."""

    image: Annotated[str | tuple[str, ...], Refers.FILES]
    labels: Annotated[str | None, Refers.FILE] = None
    masks: Annotated[dict[str, str] | None, Refers.FILES] = None
    voxel_nm: tuple[Nm, Nm, Nm] | None = None
    slices: tuple[Index, ...] | None = None
    boxes_nm: tuple[tuple[Corner, Corner], ...] | None = None
    ignore: Index | None = None
    instances_of: str | None = None
    channel: Index | None = None
    timepoint: Index | None = None


class Network(Section):
    """The network: one that nnU-Net's planner chooses (`preset`), or by its name and sizes."""

    preset: str | None = None
    dimensions: Literal[2, 3] | None = None
    memory_gb: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    network: str | None = None
    window: tuple[Count, ...] | None = None
    features: tuple[Count, ...] | None = None
    convolutions: Count | None = None


class Steps(Section):
    """How it is trained; what is not said is as in `Recipe`."""

    batch: Count | None = None
    steps: Count | None = None
    epoch: Count | None = None
    validation_windows: Count | None = None
    rate: Annotated[float, Field(gt=0, le=1)] | None = None
    optimizer: str | None = None
    schedule: str | None = None
    loss: str | None = None
    augment: str | None = None
    balance: bool | None = None
    edges: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    foreground: Annotated[float, Field(ge=0, le=1)] | None = None
    deep: bool | None = None
    patience: Index | None = None
    keep: str | None = None
    precision: str | None = None
    device: str | None = None
    threads: Count | None = None
    processes: Count | None = None
    seed: Index | None = None
    checkpoint_seconds: Count | None = None


class Division(Section):
    """What is held out."""

    by: str | None = None
    folds: Annotated[int, Field(ge=2)] | None = None
    train: tuple[Index, ...] | Literal["all"] | None = None
    axis: str | None = None
    gap_nm: Nm | None = None


class TrainingFile(Section):
    """A whole training."""

    name: Name
    work: Annotated[str, Refers.FILE]
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    classes: dict[str, Count | tuple[Count, ...]] | tuple[str, ...] | None = None
    regions: bool = False
    voxel_nm: tuple[Nm, Nm, Nm] | None = None
    network: Network = Network()
    training: Steps = Steps()
    split: Division = Division()
    fine_tune: Annotated[str | None, Refers.FILE] = None
    freeze: Literal["encoder"] | None = None
    trials: Count = 1
    search: dict[str, tuple[Any, ...]] | None = None
    to: Annotated[str | None, Refers.FILE] = None
    report: bool = True

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `train`, what was not said left out."""
        found: dict[str, Any] = {
            "sources": [source.model_dump(exclude_none=True) for source in self.sources],
            **self.model_dump(
                include={"name", "work", "regions", "fine_tune", "freeze", "trials", "search", "to"},
                exclude_none=True,
            ),
            **self.network.model_dump(exclude_none=True),
            **self.training.model_dump(exclude_none=True),
        }
        if self.classes is not None:
            found["classes"] = dict(self.classes) if isinstance(self.classes, dict) else list(self.classes)
        if self.voxel_nm is not None:
            found["voxel_nm"] = self.voxel_nm
        return found | {"split": self.split.model_dump(exclude_none=True)}

    def window_nm(self) -> tuple[float, ...] | None:
        """What the network sees at once, in nm along (z, y, x), where the file says it; of planes, one."""
        window = self.network.window
        if window is None or self.voxel_nm is None or len(window) not in (2, 3):
            return None
        return tuple(n * v for n, v in zip((1, *window)[-3:], self.voxel_nm, strict=True))


def read_training_file(path: str | Path) -> TrainingFile:
    """The training file at `path`, with relative paths taken from its folder.

    Raises
    ------
    ConfigError
        If it cannot be read; lists every problem with its place in the file.
    """
    content, lines = read_content(path)
    if "sources" not in content and content.keys() & {"input", *LISTS, "segment", "semantic"}:
        raise ConfigError(f"{path} is a run, not a training: 'chunkflow-liver run {path}' is for it")
    return validated(TrainingFile, content, lines, path)


def is_training_file(path: str | Path) -> bool:
    """Whether a YAML file describes a training, not a run: it has `sources`.

    Raises
    ------
    ConfigError
        If it holds no keys and values.
    """
    return "sources" in read_content(path)[0]
