"""What form has an object?

PyRadiomics' shape features, surface meshes, largest diameters, convex hulls, Euler numbers, areas. Takes
runs of objects or whole objects, gives one row per object, or triangles in nm. Begin with
`pyradiomics_shape.SHAPE`, `morphology.MORPHOLOGY` and `triangles.box_triangles` (meshes for files).
"""
