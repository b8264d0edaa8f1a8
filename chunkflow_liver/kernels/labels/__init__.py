"""What does a block of labels hold?

Runs of equal values along x, where every label lies, how two labellings overlap, new ids for old ones.
Takes integer blocks (Z, Y, X), gives columns of one row per run, label or pair, which merge over blocks in
any order. Begin with `runs.find_runs`, `extents.block_extents` and `overlap.overlap`;
`object_runs.runs_by_object` is what all features of objects are computed from.
"""
