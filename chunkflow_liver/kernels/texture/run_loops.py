"""The loop of `kernels.texture.whole` that follows runs of equal gray level."""

from __future__ import annotations

from chunkflow_liver.kernels.compiled import compiled
from chunkflow_liver.xp import Array


@compiled
def run_lengths(canvas: Array, at: Array, of: Array, step: Array, length: Array, many: Array) -> None:
    """Fill `length` (int32) with the length of the run that begins at each voxel, 0 where none does.

    `canvas`, `at` and `of` are those of `whole.Packed`, `step` says how far the next voxel of a line lies
    in the canvas, for every object; `many` becomes True for objects with two voxels side by side on a
    line. A run is shorter than the box around it: lengths fit int32.
    """
    for i in range(len(at)):
        number, forward = canvas[at[i]], step[of[i]]
        before = canvas[at[i] - forward]
        if before > 0:
            many[of[i]] = True
        found = 0
        if before != number:
            found, next_ = 1, at[i] + forward
            while canvas[next_] == number:
                found += 1
                next_ += forward
        length[i] = found
