"""Could that be chance?

Permutation tests within and between objects and between animals, and bootstrap intervals. Takes columns of
windows or objects, never voxels; gives p-values that are never 0, and intervals. Begin with
`permutations.within_objects`, `permutations.between_objects`, `groups.between_animals` and
`intervals.intervals`.
"""
