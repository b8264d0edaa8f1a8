"""How is a tubular network built: which branches meet where, how long and how wide, at what angles?

Thinning to centre lines in an order that no cut into blocks can change, lines and nodes of a box, one graph
of all boxes without spurs, lengths and radii finer than voxels, the graph beside those that its branch points
alone make. Takes distances inside the object, gives graphs and rows. Begin with `thinning.thinned`,
`joining.joined`, `tidying.tidied` and `measuring.branches`.
"""
