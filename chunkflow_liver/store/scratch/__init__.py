"""What may not fit in memory while a fold works: arrays spilled to disk, sorted there, put aside between
stages.
"""
