"""Which objects of blocks are one: links over every seam, thresholds, and links that are not made."""
