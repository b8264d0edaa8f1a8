"""How bright is an object, and what is its texture?

First-order statistics and PyRadiomics' five texture matrices by name and number: GLCM, GLDM and NGTDM
counted in blocks, GLRLM and GLSZM from whole objects. Takes blocks of labels and image, gives one row per
object. Begin with `levels.gray_levels`, `counts.pair_sums` (what a block counts) and
`describe.pair_columns` (what follows from it).
"""
