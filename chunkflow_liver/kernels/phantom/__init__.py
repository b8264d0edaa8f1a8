"""What would tissue look like whose truth is known?

Cells, ER, mitochondria with planted necks, nuclei and lipid droplets, painted as an electron microscope
might see them. Takes a seed, a shape and a voxel size, gives any box of the image and of its truth, the
same however it is cut. Begin with `volume.Phantom` (what is asked for), `volume.render` and
`volume.truth_table`.
"""
