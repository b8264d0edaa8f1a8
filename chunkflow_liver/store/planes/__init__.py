"""Whole slices of a volume, for work that goes along z."""
