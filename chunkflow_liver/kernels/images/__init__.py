"""What are the grey values of a whole volume, and how does it look coarser?

Exact mean, deviation, percentiles and extremes from blocks, for the normalisation that a network wants, and
the levels of a pyramid. Takes image blocks, gives records that merge exactly, or smaller blocks. Begin with
`statistics.Statistics`, `downsample.mean` (images) and `downsample.mode` (labels).
"""
