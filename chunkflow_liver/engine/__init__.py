"""How work runs: grids of blocks, two kinds of stage, a journal; the only place that knows dask."""

from chunkflow_liver.engine.cluster import cluster
from chunkflow_liver.engine.plan import Plan, Product
from chunkflow_liver.engine.run import run
from chunkflow_liver.engine.stage import Fold, Map, Piece, Result

__all__ = ["Fold", "Map", "Piece", "Plan", "Product", "Result", "cluster", "run"]
