"""What is measured of an object, and how do its blocks add up?

`groups` is the contract of every group of features: what a block sums, how sums merge, what columns follow.
`basic` holds the first of them: exact sums of coordinates and intensities, volumes, centroids, axes. Takes
blocks of labels and an image, gives one row per object. Begin with `groups.Group`, `groups.View` and
`basic.block_sums`.
"""
