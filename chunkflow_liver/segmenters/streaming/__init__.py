"""One global grid of windows over a volume, run row by row in bounded memory, for any network.

`windows` places them, `view` cuts the grid by block, `planes` reads and normalises, `forward` and `predict`
run the network, `sums` adds weighted scores, `outputs` makes classes, and `stream.segment_block` strings it
together.
"""
