"""Networks beside skan and kimimaro on whole arrays: uv run --with kimimaro scripts/network_peers.py.

The phantoms of `bench.py network`, as they are for skan and, for kimimaro, which gives trees, with only the
tubes of a spanning tree. Both peers' graphs are pruned as ours is and matched with ours by their
nodes. Their branches are measured along the chain of voxels, and along a smoothing spline of SciPy's through
it; at a free end as far as both lines go. Without kimimaro its rows are left out.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from bench_network import CASES
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial import cKDTree
from skan_network import Branches, Nm, network, smooth_length, tidied

import chunkflow_liver as cf
from chunkflow_liver.geometry import Box
from chunkflow_liver.kernels.phantom.tubes import Tubes, lattice, paint_tubes


def tree_of(tubes: Tubes) -> Tubes:
    """The tubes of a spanning tree."""
    n = len(tubes.nodes_nm)
    whole = coo_array((tubes.length_nm, tuple(tubes.ends.T)), shape=(n, n)).tocsr()
    left = minimum_spanning_tree(whole).tocoo()
    pairs = {tuple(sorted(pair)) for pair in zip(left.row.tolist(), left.col.tolist(), strict=True)}
    kept = np.array([tuple(sorted(pair)) in pairs for pair in tubes.ends.tolist()])
    return Tubes(tubes.nodes_nm, tubes.ends[kept], tubes.radius_nm[kept])


def by_kimimaro(mask: np.ndarray, voxel_nm: Nm) -> Branches:
    """The branches of kimimaro's skeletons, cut where these branch."""
    import kimimaro

    teasar = {
        "scale": 1.5,
        "const": 2 * max(voxel_nm),
        "pdrf_scale": 100000,
        "pdrf_exponent": 4,
        "soma_detection_threshold": 1e6,
    }
    skeletons = kimimaro.skeletonize(
        mask.astype(np.uint32), teasar, anisotropy=voxel_nm, dust_threshold=0, progress=False
    )
    ends, paths, radii, first = [], [], [], 0
    for skeleton in skeletons.values():
        place, wide = skeleton.vertices.astype(float) + np.array(voxel_nm) / 2, skeleton.radii
        near: list[list[int]] = [[] for _ in place]
        for a, b in skeleton.edges.tolist():
            near[a].append(b)
            near[b].append(a)
        for begin in (i for i, others in enumerate(near) if len(others) != 2):
            for after in near[begin]:
                way = [begin, after]
                while len(near[way[-1]]) == 2:
                    way.append(next(i for i in near[way[-1]] if i != way[-2]))
                if way[-1] > begin:
                    ends.append((first + begin, first + way[-1]))
                    paths.append(place[way])
                    radii.append(wide[way].astype(float))
        first += len(place)
    length = np.array([np.linalg.norm(np.diff(path, axis=0), axis=1).sum() for path in paths])
    return tidied(Branches(np.array(ends), length, paths, radii), max(voxel_nm))


def ours(mask: np.ndarray, voxel_nm: Nm, widest_nm: float, folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Our tables of branches, nodes and points."""
    source = folder / "tubes.ome.zarr"
    volume = cf.write_volume(
        source, mask.astype(np.uint8), voxel_nm=voxel_nm, kind="label", classes={"tube": 1}
    )
    cf.run(cf.network(volume, widest_nm=widest_nm, name="n", work=folder / "work"), progress=False)
    return {
        end: {
            k: np.array(v)
            for k, v in cf.read_table(folder / f"work/tables/n{end}.parquet").to_pydict().items()
        }
        for end in ("", "-nodes", "-points")
    }


def compared(tables: dict[str, dict[str, np.ndarray]], peer: Branches, voxel_nm: Nm) -> dict[str, Any]:
    """Branch points, lengths over ours of the branches that both have, and radii less ours, in voxels."""
    rows, nodes, points = tables[""], tables["-nodes"], tables["-points"]
    side, names = max(voxel_nm), peer.places()
    at = np.stack([nodes[f"{a}_nm"] for a in "zyx"], 1)
    lines = np.stack([points[f"{a}_nm"] for a in "zyx"], 1)
    node = dict(
        zip(names, nodes["node"][cKDTree(at).query(np.array(list(names.values())))[1]].tolist(), strict=True)
    )
    of: dict[tuple[int, ...], list[int]] = {}
    for row, pair in enumerate(zip(rows["start"].tolist(), rows["stop"].tolist(), strict=True)):
        of.setdefault(tuple(sorted(pair)), []).append(row)
    found = []
    for (a, b), path, wide in zip(peer.ends.tolist(), peer.paths, peer.radii, strict=True):
        own = of.get(tuple(sorted((node[a], node[b]))), [])
        if len(own) != 1:
            continue
        line, length = lines[points["branch"] == rows["branch"][own[0]]], rows["length_nm"][own[0]]
        ends = [names[a], names[b]]
        for which, end in enumerate((node[a], node[b])):
            if nodes["degree"][end - 1] > 1:
                continue
            # A free end: both as far as both go.
            path = path[:: 1 if which else -1]
            path = path[: 1 + int(np.linalg.norm(path - at[end - 1], axis=1).argmin())][:: 1 if which else -1]
            ends[which] = path[-which]
            length -= _beyond(line, path[-which])
        raw = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
        smooth = smooth_length(np.concatenate([ends[:1], path[1:-1], ends[1:]]), voxel_nm)
        middle = slice(len(wide) // 4, len(wide) - len(wide) // 4)
        found.append((length, smooth, raw, wide[middle].mean() - rows["radius_mean_nm"][own[0]]))
    length, smooth, raw, wider = np.array(found).T
    return {
        "points": (int((nodes["degree"] > 2).sum()), peer.points),
        "branches": (len(rows["branch"]), len(found)),
        "whole chain": peer.length.sum() / rows["length_nm"].sum(),
        "chain": raw.sum() / length.sum(),
        "smooth": smooth.sum() / length.sum(),
        "within 2 %": float((np.abs(smooth / length - 1) < 0.02).mean()),
        "within 1 voxel": float((np.abs(smooth - length) < side).mean()),
        "radius": wider.mean() / side,
    }


def _beyond(line: np.ndarray, tip: np.ndarray) -> float:
    """How far a line goes on beyond where it is nearest to a place near one of its ends."""
    if np.linalg.norm(line[0] - tip) < np.linalg.norm(line[-1] - tip):
        line = line[::-1]
    steps = np.diff(line, axis=0)
    share = np.clip(((tip - line[:-1]) * steps).sum(1) / np.maximum((steps**2).sum(1), 1e-9), 0, 1)
    nearest = int(np.linalg.norm(line[:-1] + share[:, None] * steps - tip, axis=1).argmin())
    length = np.linalg.norm(steps, axis=1)
    return float(length[nearest] * (1 - share[nearest]) + length[nearest + 1 :].sum())


def main(only: str = "") -> None:
    """Print a line per phantom and peer."""
    for name, shape, voxel_nm, spacing, radii in CASES:
        whole = lattice(shape, voxel_nm, spacing_nm=spacing, radii_nm=radii, seed=1)
        peers = [("skan", whole)] + [("kimimaro", tree_of(whole))] * (find_spec("kimimaro") is not None)
        for peer, tubes in peers if only in name else ():
            mask = paint_tubes(tubes, Box.of(shape), voxel_nm)
            with tempfile.TemporaryDirectory() as folder:
                tables = ours(mask, voxel_nm, 2.6 * radii[1], Path(folder))
            found = network(mask, voxel_nm)[0] if peer == "skan" else by_kimimaro(mask, voxel_nm)
            told = compared(tables, found, voxel_nm)
            truth = tables[""]["length_nm"].sum() / tubes.length_nm.sum()
            values = ", ".join(f"{k} {v if isinstance(v, tuple) else round(v, 4)}" for k, v in told.items())
            print(
                f"{name}: {peer}: {values}; true points {(tubes.degree > 2).sum()}, ours / truth {truth:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
