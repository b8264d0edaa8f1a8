"""Write an EM-like phantom of any size, with its truth, block by block."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import chunkflow_liver as cf


def main() -> None:
    """Plan and run; goes on where it was interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder that gets raw.ome.zarr and the table of truth")
    parser.add_argument("--shape", type=int, nargs=3, default=(96, 384, 384), metavar=("Z", "Y", "X"))
    parser.add_argument("--voxel-nm", type=float, nargs=3, default=(40, 16, 16), metavar=("Z", "Y", "X"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="size of cells; 5 is a hepatocyte")
    parser.add_argument("--mitochondria", type=int, help="how many; as many as find room by default")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("chunkflow_liver").setLevel(logging.INFO)
    plan = cf.phantom(
        shape=tuple(given.shape),
        voxel_nm=tuple(given.voxel_nm),
        seed=given.seed,
        scale=given.scale,
        mitochondria=given.mitochondria,
        work=given.work,
    )
    with cf.cluster(workers=given.workers) as client:
        cf.run(plan, client)


if __name__ == "__main__":
    main()
