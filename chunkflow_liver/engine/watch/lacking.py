"""Blocks that a run ends without, and what cannot be done because of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chunkflow_liver.engine.stage import Fold, Map, Stage, handle_key, makes, needs
from chunkflow_liver.engine.written import write_failed
from chunkflow_liver.errors import RunIncompleteError


class Lacking:
    """Blocks that failed for good, and the stages that cannot be done without them."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.failed: list[dict[str, Any]] = []
        self.left_out: list[str] = []
        self._names: set[str] = set()
        self._handles: set[str] = set()
        self._texts: list[str] = []

    def allows(self, stage: Stage) -> bool:
        """Whether all is there that a stage needs; what needs a stage that is left out is left out too."""
        if isinstance(stage, Fold):
            wants = {handle_key(a) for a in stage.artefacts.values()}
            lacks = stage.over in self._names or bool(wants & self._handles)
        else:
            lacks = bool(needs(stage) & self._handles)
        if lacks:
            self.left_out.append(stage.name)
            self._block(stage)
        return not lacks

    def add(self, stages: Sequence[Map], failed: Sequence[dict[str, Any]]) -> None:
        """A pass that ended without the blocks `failed`."""
        if not failed:
            return
        for stage in stages:
            self._block(stage)
        self.failed += failed
        write_failed(self.work, self.failed)
        often = max(f["times"] for f in failed)
        times = f" {often} times" if often > 1 else ""
        self._texts.append(
            f"{len(failed)} of {len(stages[0].grid)} blocks of stage {failed[0]['stage']!r} failed{times}; "
            f"the first: {failed[0]['error']}"
        )

    def tell(self) -> None:
        """Raise what is lacking at the end of a run."""
        if not self.failed:
            return
        without = f" Left out, because it needs them: {', '.join(self.left_out)}." if self.left_out else ""
        raise RunIncompleteError(
            f"{'; '.join(self._texts)}. What is done is kept: mend the cause and run again.{without} All "
            f"failures stand in {self.work / 'failed.json'}"
        )

    def _block(self, stage: Stage) -> None:
        self._names.add(stage.name)
        self._handles |= set(makes(stage))
