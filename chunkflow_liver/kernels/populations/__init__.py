"""What forms do the objects of a population have, and how do cells differ?

Takes columns of objects, a row each, sorted by label; gives scores on principal components, an index of 0 to
1, classes of form, clusters, rows of cells, and tests between cells. Begin with
`forms.fit_forms`, `cells.summaries`, `between.between_cells` and `standard.fit_standard`.
"""
