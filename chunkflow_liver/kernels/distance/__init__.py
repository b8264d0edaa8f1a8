"""How far is it to a structure, in nm?

Exact Euclidean distances up to a cap, inside and outside, nearest voxels, and whether a distance could be
changed by what lies outside the volume. Takes masks or labels and a voxel size, gives distances in nm, or
exact whole squares in a unit of length that the voxel sizes share. Begin with `transform.distance_nm`,
`squares.whole_unit` and, for distances without a cap over a stored volume, `lines.along_axis`.
"""
