"""Faults that were put into a stack are found, each with its slice and kind, and no others."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from strategies import command, write

from chunkflow_liver.kernels.images.slice_checks import faults
from chunkflow_liver.store.images import validate
from chunkflow_liver.store.slice_faults import glance


def tissue(seed=0, shape=(40, 160, 160)):
    """Gray values of structures a few slices deep, with noise of each slice's own."""
    rng = np.random.default_rng(seed)
    body = ndimage.gaussian_filter(rng.normal(size=shape), (2, 4, 4))
    return np.clip(128 + 40 * body / body.std() + 8 * rng.normal(size=shape), 1, 255).astype(np.uint8)


def found(stack):
    return [(f.kind, f.z) for f in faults(iter(stack[:, None]))]


@pytest.mark.parametrize("seed", range(4))
def test_a_stack_without_faults_has_none(seed):
    assert found(tissue(seed)) == []


@pytest.mark.parametrize("seed", range(3))
def test_every_fault_is_named_with_its_slice(seed):
    stack = tissue(seed)
    z = 5 + 3 * seed
    black, twice, off, step, jump = (stack.copy() for _ in range(5))
    black[z] = 0
    twice[z] = twice[z - 1]
    off[z] = np.roll(off[z], (11, -7), (0, 1))
    step[z:] = np.roll(step[z:], (0, 9), (1, 2))
    jump[z] = np.clip(0.5 * jump[z].astype(float) + 100, 0, 255)
    assert found(black) == [("black", z)]
    assert found(twice) == [("duplicate", z)]
    assert found(off) == [("shift", z)]
    assert found(step) == [("shift", z)]
    assert found(jump) == [("contrast", z)]
    gone = np.delete(stack, [z, z + 1], axis=0)
    assert found(gone) == [("missing", z)]


def test_a_shift_says_by_how_much_and_whether_it_stays():
    stack = tissue()
    stack[9] = np.roll(stack[9], (11, -7), (0, 1))
    (fault,) = faults(iter(stack[:, None]))
    assert fault.text == "lies off its place, by 11 voxels along y and -7 along x"
    stack = tissue()
    stack[9:] = np.roll(stack[9:], 9, 2)
    (fault,) = faults(iter(stack[:, None]))
    assert fault.text == "and all after it lie off the ones before, by 0 voxels along y and 9 along x"


def test_noise_black_stacks_and_few_slices_say_nothing():
    noise = np.random.default_rng(0).integers(0, 255, (20, 64, 64)).astype(np.uint8)
    assert found(noise) == []
    assert found(np.zeros((20, 32, 32), np.uint8)) == []
    assert found(tissue()[:4]) == []


def test_validate_deep_and_a_glance_name_the_slices(tmp_path):
    stack = tissue(1, (40, 300, 300))
    stack[20], stack[23] = 0, stack[22]
    volume = write(tmp_path, stack, "raw", chunks=(8, 64, 64))
    said = validate(volume.url, deep=True)
    assert said == [
        "level 0: slice 20 is black: every voxel that was looked at is 0",
        "level 0: slice 23 is the same as slice 22",
    ]
    assert validate(volume.url) == []
    assert glance(volume) == [text.removeprefix("level 0: ") for text in said]
    run_file = tmp_path / "run.yaml"
    own = write(tmp_path, stack, "cells", kind="label", chunks=(8, 64, 64))
    run_file.write_text(
        f"input: {{path: {volume.url}}}\nwork: {tmp_path / 'work'}\nreport: false\n"
        f"existing: [{{name: cells, path: {own.url}}}]\nmeasure: [{{name: table, instances: cells}}]\n"
    )
    code, told, _ = command("plan", run_file)
    assert code == 0
    assert f"warning: {volume.url}: slice 23 is the same as slice 22 (seen at a glance" in told
    labels = write(tmp_path, stack, "own", kind="label", chunks=(8, 64, 64))
    assert validate(labels.url, deep=True) == []
