"""Could that be chance?

Permutation tests within and between objects, between animals and along places in a tissue, and bootstrap
intervals. Takes columns of windows or objects, never voxels; gives p-values that are never 0, and intervals.
Begin with `permutations.within_objects`, `permutations.between_objects`, `groups.between_animals`,
`trends.trends` and `intervals.intervals`.
"""
