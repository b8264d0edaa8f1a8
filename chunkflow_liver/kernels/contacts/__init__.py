"""How much surface of one object lies near another?

The gap between voxel boxes, areas of digital surfaces, who meets whom within a gap, and contact sites.
Takes two blocks of labels and a gap in nm, gives exact rows per pair, object and site. Begin with
`gaps.near_surface` (what a gap is), `areas.surface_areas` (what an area is) and `tallies.pair_rows` (what
is counted).
"""
