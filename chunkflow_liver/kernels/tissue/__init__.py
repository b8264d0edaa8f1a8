"""Which cell is a voxel of, from slice to slice or from the boundaries alone?

How the image moves between slices, labels carried along, cells of a slice flooded from what was carried,
thin pieces joined to their cell, fragments in 3D united where no boundary lies; holes in the wall of a
vessel. Takes slices or blocks of an image and of its interior and boundary, gives labels. Begin with
`flow.displacement`, `carrying.carried`, `planes.plane_cells` and `fenestrae.find_holes`.
"""
