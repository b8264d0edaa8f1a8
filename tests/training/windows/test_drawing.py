"""Windows depend on the seed and their number only, and show what is painted."""

from __future__ import annotations

import numpy as np
import pytest
from painted import VOXEL_NM, InMemory, blobs, painted_of

from chunkflow_liver.errors import InputError
from chunkflow_liver.geometry import Box
from chunkflow_liver.training.losses import IGNORE
from chunkflow_liver.training.recipe import Recipe
from chunkflow_liver.training.windows.batches import batches
from chunkflow_liver.training.windows.drawing import Drawing, painted_rows, read_window, validation_windows


def drawing(window=(4, 16, 16), *, seen=None, **options):
    grey, classes = blobs()
    sources = [InMemory(grey, classes, seen), InMemory(*blobs(seed=1))]
    recipe = Recipe(("dark", "bright"), VOXEL_NM, window, features=(4, 8), **options)
    return Drawing(sources, painted_of(sources), recipe), recipe


def test_a_window_depends_on_seed_and_number_only():
    one, _ = drawing()
    two, _ = drawing()
    other, _ = drawing(seed=1)
    for number in (5, 0, 3):
        assert one.window(number) == two.window(number)
    assert [one.window(n) for n in range(8)] != [other.window(n) for n in range(8)]


def test_threads_and_the_first_step_do_not_change_a_batch(monkeypatch):
    made, recipe = drawing(steps=4, batch=2)
    with batches(made, recipe, 0) as coming:
        wanted = list(coming)
    monkeypatch.setattr("chunkflow_liver.training.windows.batches.AHEAD", 4)
    with batches(made, recipe, 2) as coming:
        found = list(coming)
    assert len(wanted) == 4
    assert len(found) == 2
    for (a, b), (c, d) in zip(wanted[2:], found, strict=True):
        assert (a == c).all()
        assert (b == d).all()


def test_windows_lie_in_the_image_and_show_something_painted():
    seen = np.zeros((12, 48, 48), bool)
    seen[7, 10:30] = True
    made, _ = drawing(seen=seen)
    for number in range(60):
        source, box = made.window(number)
        assert Box.of((12, 48, 48)).contains(box)
        assert box.shape == (4, 16, 16)
        _, labels = read_window(made.sources[source], box)
        assert (labels != IGNORE).any()


def test_windows_around_a_class_are_as_frequent_as_asked_for():
    made, _ = drawing((1, 1, 1), foreground=0.5)
    labels = [made.read(n)[1].item() for n in range(800)]
    share = np.mean([c > 0 for c in labels])
    # Half are drawn from classes, and of the other half about 40 % are of one by chance.
    by_chance = np.mean([(s.known > 0).mean() for s in made.sources])
    assert share == pytest.approx(0.5 + 0.5 * by_chance, abs=0.06)


def test_painted_slices_are_seen_at_every_depth():
    seen = np.zeros((12, 48, 48), bool)
    seen[6] = True
    grey, classes = blobs()
    source = InMemory(grey, classes, seen)
    recipe = Recipe(("dark", "bright"), VOXEL_NM, (4, 16, 16), features=(4, 8))
    made = Drawing([source], painted_of([source]), recipe)
    assert {6 - made.window(n)[1].start[0] for n in range(40)} == {0, 1, 2, 3}


def test_a_window_larger_than_the_image_is_padded_with_the_mean_and_nothing_painted():
    made, _ = drawing((16, 16, 16))
    source, box = made.window(0)
    assert (box.start[0], box.stop[0]) == (-2, 14)
    image, labels = read_window(made.sources[source], box)
    assert (image[:, :2] == 0).all()
    assert (labels[14:] == IGNORE).all()
    assert (labels[2:14] >= 0).all()


def test_validation_windows_do_not_overlap_and_are_spread_evenly():
    grey, classes = blobs((12, 48, 64))
    seen = np.zeros(grey.shape, bool)
    seen[4:, :, 20:] = True
    sources = [InMemory(grey, classes, seen)]
    every = validation_windows(sources, painted_of(sources), (4, 16, 16), 1000)
    count = np.zeros(grey.shape, int)
    for _, box in every:
        count[box.slices] += 1
    assert count.max() == 1
    assert (count[seen] == 1).all()
    few = validation_windows(sources, painted_of(sources), (4, 16, 16), 5)
    assert len(few) == 5
    assert set(few) < set(every)
    assert {box.start[0] for _, box in few} == {4, 8}


def test_labels_that_changed_are_refused():
    made, _ = drawing()
    made.sources[0].known[:] = IGNORE
    made.sources[1].known[:] = IGNORE
    with pytest.raises(InputError, match=r"no longer those that were painted .*make the plan again"):
        made.window(0)


@pytest.mark.parametrize("planes", [[0, 1, 5], [3], []])
def test_painted_rows_are_tight_boxes_of_runs_of_planes(planes):
    labels = np.full((6, 8, 9), IGNORE, np.int16)
    labels[planes, 2:5, 4:] = 1
    labels[planes, 2, 4] = 0
    rows = painted_rows(labels, (10, 20, 30), 3)
    runs = {(0, 1, 5): [(0, 2), (5, 6)], (3,): [(3, 4)], (): []}[tuple(planes)]
    wanted = [((10 + a, 22, 34), (10 + b, 25, 39), [b - a, 14 * (b - a), 0]) for a, b in runs]
    assert rows == wanted
