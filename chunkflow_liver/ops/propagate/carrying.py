"""One group of tracks: forward through the slices, then back, chunk by chunk, going on where it stood.

All tracks of a group pass a slice together, and those in one window share its encoding. A track is one
object begun from one slice; it knows nothing of the others, so which group it is in changes no bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.images.windows import Window
from chunkflow_liver.ops.propagate.files import Folder, Rows, write_npz
from chunkflow_liver.ops.propagate.placing import Placing, mask_in
from chunkflow_liver.ops.propagate.reading import READ_BYTES, Slices
from chunkflow_liver.ops.propagate.subjects import Subject
from chunkflow_liver.segmenters.sam2 import Found, Hint, Propagator, Track
from chunkflow_liver.store.volume import Volume
from chunkflow_liver.xp import Array

FORWARD, BACKWARD = 0, 1


@dataclass
class Way:
    """A track under way.

    Attributes
    ----------
    number : int
        Of the track in the plan.
    window, track : Window, Track
        Where it is; None before it begins.
    first : Window, Track
        Where it began, which is where it turns back from.
    gone : int
        Slices in a row on which nothing was found.
    """

    number: int
    subject: Subject
    window: Window | None = None
    track: Track | None = None
    first: tuple[Window, Track] | None = None
    gone: int = 0

    def wants(self, sweep: int, z: int, patience: int) -> bool:
        """Whether it steps to slice `z`."""
        subject = self.subject
        if self.track is None or self.gone >= patience:
            return False
        if sweep == FORWARD:
            return subject.direction != "backward" and subject.z < z <= subject.end
        return subject.direction != "forward" and subject.start <= z < subject.z


@dataclass
class Carrier:
    """What all tracks of a group share.

    Attributes
    ----------
    masks : Volume, optional
        Label image on the voxels of the image.
    patience : int
        After so many slices in a row without it, an object has ended.
    chunk : int
        Slices between two places to go on from.
    total : int
        Slices of the image.
    """

    propagator: Propagator
    slices: Slices
    placing: Placing
    masks: Volume | None
    patience: int
    chunk: int
    total: int
    encoded: int = 0
    steps: int = 0

    def carry(self, ways: Sequence[Way], folder: Folder, digest: str) -> list[tuple[int, int]]:
        """Carry all tracks, and write what they find.

        Returns
        -------
        list of (sweep, chunk)
            The files that were written.
        """
        kept = folder.begin(digest)
        done: list[list[int]] = []
        files: list[tuple[int, int]] = []
        if kept is not None:
            plain = json.loads(str(kept["plain"]))
            done, files = plain["done"], [(s, c) for s, c in plain["files"]]
            self.encoded, self.steps = plain["encoded"], plain["steps"]
            self._restore(ways, plain, kept)
        for sweep, chunk, planes in self._order(ways):
            if [sweep, chunk] in done:
                continue
            if sweep == BACKWARD and not any(s == BACKWARD for s, _ in done):
                self._turn(ways)
            rows = Rows()
            for z in planes:
                self._slice(ways, sweep, z, rows)
            if rows.places:
                write_npz(folder.rows(sweep, chunk), rows.columns())
                files.append((sweep, chunk))
            done.append([sweep, chunk])
            plain, arrays = self._state(ways)
            plain |= {"done": done, "files": files, "encoded": self.encoded, "steps": self.steps}
            folder.keep(digest, plain, arrays)
        return files

    def _order(self, ways: Sequence[Way]) -> Iterator[tuple[int, int, Sequence[int]]]:
        """Chunks of slices, forward from the first prompt, then backward from the last."""
        forth = range(
            min(w.subject.z for w in ways),
            1 + max(w.subject.end if w.subject.direction != "backward" else w.subject.z for w in ways),
        )
        for chunk in range(forth.start // self.chunk, -(-forth.stop // self.chunk)):
            yield FORWARD, chunk, [z for z in self._planes(chunk) if z in forth]
        back = [w.subject for w in ways if w.subject.direction != "forward"]
        if back:
            span = range(min(s.start for s in back), max(s.z for s in back))
            for chunk in reversed(range(span.start // self.chunk, -(-span.stop // self.chunk))):
                yield BACKWARD, chunk, [z for z in reversed(self._planes(chunk)) if z in span]

    def _planes(self, chunk: int) -> range:
        return range(chunk * self.chunk, min((chunk + 1) * self.chunk, self.total))

    @staticmethod
    def _turn(ways: Iterable[Way]) -> None:
        """Back to where every track began."""
        for way in ways:
            if way.first is not None:
                (way.window, way.track), way.gone = way.first, 0

    def _slice(self, ways: Sequence[Way], sweep: int, z: int, rows: Rows) -> None:
        begin = [w for w in ways if sweep == FORWARD and w.subject.z == z]
        for way in begin:
            way.window = self._first_window(way.subject)
        active = begin + [w for w in ways if w.wants(sweep, z, self.patience)]
        # Those of one window stand together, so that a slice is encoded once for all of them.
        active.sort(key=lambda w: (w.window is None, _corner(w.window), w.number))
        seen: dict[Window | None, Any] = {}
        for k in range(0, len(active), self.propagator.places):
            batch = active[k : k + self.propagator.places]
            # No more encodings are held than a batch looks at.
            windows = dict.fromkeys(way.window for way in batch)
            seen = {w: seen[w] if w in seen else self._encode(w, z) for w in windows}
            for way, found in self._batch(batch, sweep, z, seen):
                assert way.window is not None
                rows.add(way.subject.object, way.number, z, way.window, found.logits, found.score)
                self._follow(way, z, found)

    def _batch(
        self, ways: Sequence[Way], sweep: int, z: int, seen: Mapping[Window | None, Any]
    ) -> Iterator[tuple[Way, Found]]:
        """Begin those that have not, and step the others together."""
        self.steps += len(ways)
        under_way = [w for w in ways if w.track is not None]
        tracks, encoded = [w.track for w in under_way], [seen[w.window] for w in under_way]
        stepped = self.propagator.step(tracks, encoded, z, reverse=sweep == BACKWARD) if tracks else []
        of = dict(zip((w.number for w in under_way), stepped, strict=True))
        for way in ways:
            yield way, of[way.number] if way.number in of else self._begin(way, z, seen[way.window])

    def _begin(self, way: Way, z: int, seen: Any) -> Found:
        """Start a track; once more in a better window, where box or points showed how large the object is."""
        assert way.window is not None
        hint = self._hint(way.subject, way.window)
        track = self.propagator.track(self.total)
        found = track.start(z, seen, hint)
        window = None if hint.mask is not None else self.placing.moved(way.window, found.logits)
        if window is not None:
            box = way.subject.box or self.placing.extent(way.window, found.logits)
            hint = self._hint(replace(way.subject, box=box), window)
            track = self.propagator.track(self.total)
            way.window, found = window, track.start(z, self._encode(window, z), hint)
        way.track, way.first = track, (way.window, track)
        return found

    def _follow(self, way: Way, z: int, found: Found) -> None:
        """Count slices without the object; begin anew in another window where it nears the margin."""
        if not (found.logits > 0).any():
            way.gone += 1
            return
        way.gone = 0
        assert way.window is not None
        window = self.placing.moved(way.window, found.logits)
        if window is None:
            return
        mask = mask_in(window, way.window, found.logits)
        if not mask.any():
            return
        track = self.propagator.track(self.total)
        track.start(z, self._encode(window, z), Hint(mask=mask))
        if z == way.subject.z:
            way.first = (window, track)
        way.window, way.track = window, track

    def _encode(self, window: Window | None, z: int) -> Any:
        assert window is not None
        self.encoded += 1
        return self.propagator.encode(self.slices.plane(window, z))

    def _first_window(self, subject: Subject) -> Window:
        if subject.window is not None:
            return subject.window
        assert self.masks is not None
        assert subject.label is not None
        return self.placing.around(_extent(self.masks, subject.z, subject.label))

    def _hint(self, subject: Subject, window: Window) -> Hint:
        if subject.label is not None and self.masks is not None:
            return Hint(mask=_mask(self.masks, subject.z, subject.label, window))
        box = None
        if subject.box is not None:
            first, last = window.pixel(*subject.box[:2]), window.pixel(*subject.box[2:])
            # A model counts from the middle of a pixel.
            box = (first[0] - 0.5, first[1] - 0.5, last[0] - 0.5, last[1] - 0.5)
        points = [(*window.pixel(y, x), own) for y, x, own in subject.points]
        inside = [p for p in points if all(0 <= v <= window.side for v in p[:2])]
        return Hint(box, tuple((y - 0.5, x - 0.5, own) for y, x, own in inside))

    def _state(self, ways: Sequence[Way]) -> tuple[dict[str, Any], dict[str, Array]]:
        """Where all tracks stand, as plain values and arrays."""
        plain: list[Any] = []
        arrays: dict[str, Array] = {}
        for way in ways:
            if way.track is None or way.window is None or way.first is None:
                plain.append(None)
                continue
            window, track = way.first
            same = track is way.track
            plain.append([_corner(way.window), _corner(window), way.gone, same])
            held = [("now", way.track)] + ([] if same else [("first", track)])
            arrays |= {f"{way.number}-{w}-{k}": v for w, t in held for k, v in t.state().items()}
        return {"ways": plain}, arrays

    def _restore(self, ways: Sequence[Way], plain: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        for way, found in zip(ways, plain["ways"], strict=True):
            if found is None:
                continue
            now, first, way.gone, same = found
            way.window = self._window(now)
            way.track = self._track(arrays, f"{way.number}-now-")
            way.first = (
                self._window(first),
                way.track if same else self._track(arrays, f"{way.number}-first-"),
            )

    def _window(self, corner: Sequence[int]) -> Window:
        factor, y, x = corner
        return Window(y, x, factor, self.placing.side)

    def _track(self, arrays: Mapping[str, Array], start: str) -> Track:
        state = {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}
        return self.propagator.track(self.total, state)


def _corner(window: Window | None) -> tuple[int, int, int]:
    return (0, 0, 0) if window is None else (window.factor, window.y, window.x)


def _extent(masks: Volume, z: int, label: int) -> tuple[float, float, float, float]:
    """The box of a label on a slice."""
    found: list[tuple[int, int, int, int]] = []
    _, height, width = masks.shape
    step = max(1, READ_BYTES // max(1, width * masks.itemsize))
    for y in range(0, height, step):
        inside = masks.read(Box((z, y, 0), (z + 1, min(height, y + step), width)))[0] == label
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if len(rows):
            found.append((y + int(rows[0]), int(columns[0]), y + int(rows[-1]) + 1, int(columns[-1]) + 1))
    if not found:
        raise InputError(f"{masks.url} has no label {label} on slice {z}, where a prompt says so")
    y0, x0, y1, x1 = zip(*found, strict=True)
    return min(y0), min(x0), max(y1), max(x1)


def _mask(masks: Volume, z: int, label: int, window: Window) -> Array:
    """The pixels of a window at least half of which are a label."""
    _, height, width = masks.shape
    out = np.zeros((window.side, window.side), bool)
    f, x0, x1 = window.factor, min(width, window.x), min(width, window.x + window.voxels)
    strip = max(1, READ_BYTES // (window.voxels * f * masks.itemsize))
    for row in range(0, window.side, strip):
        rows = min(strip, window.side - row)
        y0, y1 = (min(height, window.y + n * f) for n in (row, row + rows))
        found = np.zeros((rows * f, window.voxels), bool)
        if y0 < y1 and x0 < x1:
            found[: y1 - y0, : x1 - x0] = masks.read(Box((z, y0, x0), (z + 1, y1, x1)))[0] == label
        out[row : row + rows] = 2 * found.reshape(rows, f, window.side, f).sum(axis=(1, 3)) >= f * f
    return out
