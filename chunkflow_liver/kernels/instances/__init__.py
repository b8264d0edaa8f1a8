"""Which voxels are one object?

Connected components by block, objects joined over seams by overlap or touch (with vetoes), touching objects
cut, slices linked, holes filled, surfaces smoothed. Takes masks, classes or labels, gives local ids and
pairs of ids that are one. Begin with `components.label_block`, `seam_matches.meet` (which objects of two
blocks are one; `seams.compare` says how well they fit) and `union.unite` (pairs become groups);
`touching.watershed.split_mask` cuts.
"""
