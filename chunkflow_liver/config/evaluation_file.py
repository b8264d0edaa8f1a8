"""The file of an evaluation: truths, and what is compared with them, label images or networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from chunkflow_liver.config.declaring import Name, Refers, Section, defaults_of
from chunkflow_liver.config.images import Block, Index, Nm, Segment
from chunkflow_liver.config.reading import read_content, validated
from chunkflow_liver.config.sections import Threshold, several
from chunkflow_liver.errors import ConfigError
from chunkflow_liver.ops.evaluate import Compared, evaluate
from chunkflow_liver.ops.label import label


class Truth(Section):
    """Labels that are right, and the image that they are of."""

    name: Name
    labels: Annotated[str, Refers.FILE]
    image: Annotated[str | None, Refers.FILE] = None
    level: Index = 0
    ignore: Annotated[int, Field(ge=1)] | None = None
    slices: Annotated[tuple[Index, ...], Field(min_length=1)] | None = None


class Found(Section):
    """What is compared: a label image for every truth, or a network that segments their images."""

    name: Name
    labels: Annotated[tuple[str, ...] | None, BeforeValidator(several), Refers.FILES] = None
    segment: Segment | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Found:
        if (self.labels is None) == (self.segment is None):
            raise ValueError("give either 'labels' (one image for every truth) or 'segment' (a network)")
        return self


@defaults_of(evaluate, Compared, label)
class EvaluationFile(Section):
    """A whole evaluation."""

    work: Annotated[str, Refers.FILE]
    truth: Annotated[tuple[Truth, ...], Field(min_length=1)]
    found: Annotated[tuple[Found, ...], Field(min_length=1)]
    classes: dict[str, Annotated[int, Field(ge=1)]] | None
    iou: Annotated[tuple[Threshold, ...] | None, BeforeValidator(several)]
    objects_of: str | None = None
    connectivity: Literal[6, 18, 26]
    surfaces_nm: tuple[Nm, Nm] | None
    per_slice: bool
    block: Block | None
    report: bool = True

    @model_validator(mode="after")
    def _fits(self) -> EvaluationFile:
        for what, entries in (("truth", self.truth), ("found", self.found)):
            names = [entry.name for entry in entries]
            twice = sorted({n for n in names if names.count(n) > 1})
            if twice:
                raise ValueError(f"two entries of {what!r} are called {twice[0]!r}; rename one of them")
        for entry in self.found:
            if entry.labels is not None and len(entry.labels) != len(self.truth):
                raise ValueError(
                    f"{entry.name!r} has {len(entry.labels)} label images for {len(self.truth)} truths; give "
                    "one for each, in the same order"
                )
            bare = next((t.name for t in self.truth if t.image is None), None)
            if entry.segment is not None and bare is not None:
                raise ValueError(
                    f"{entry.name!r} segments the images of all truths, but {bare!r} names no 'image'"
                )
        if self.objects_of is not None and self.iou is None:
            raise ValueError("'objects_of' compares objects: say from which 'iou' on two are one, as 0.5")
        painted = next((t.name for t in self.truth if t.ignore is not None or t.slices is not None), None)
        if self.objects_of is not None and painted is not None:
            raise ValueError(
                f"{painted!r} is not painted everywhere, so the objects of 'objects_of' may be cut there; "
                "compare classes only, or label images that hold ids of objects"
            )
        if self.iou is not None and self.objects_of is None and self.surfaces_nm is not None:
            raise ValueError(
                "surfaces are of classes, and 'iou' without 'objects_of' compares ids of objects"
            )
        return self


def read_evaluation_file(path: str | Path) -> EvaluationFile:
    """The evaluation file at `path`, with relative paths taken from its folder.

    Raises
    ------
    ConfigError
        If it cannot be read; lists every problem with its place in the file.
    """
    content, lines = read_content(path)
    if "truth" not in content and {"sources", "input", "label", "segment"} & content.keys():
        raise ConfigError(f"{path} is no evaluation: it has no 'truth'; see configs/evaluate.yaml")
    return validated(EvaluationFile, content, lines, path)


def is_evaluation_file(path: str | Path) -> bool:
    """Whether a YAML file describes an evaluation, not a run: it has `truth`.

    Raises
    ------
    ConfigError
        If it holds no keys and values.
    """
    return "truth" in read_content(path)[0]
