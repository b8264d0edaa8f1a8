"""Which code a stage runs, as a digest of each module.

`of_stage` finds its functions and classes, `reach` what these use, `modules` where that is written, and
`statements` what of it counts.
"""
