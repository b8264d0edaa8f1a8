"""Blocks that an edit left as they were: what was done on them before it is taken over, not done again.

A stage that edits an image knows in which blocks its output differs from its input. A later stage of the same
plan may do on the edited image what another one did on the image before it (a measurement, a level of the
pyramid): of a block that reads nothing that differs, function, parameters and voxels are the same, so output
and record are, too.

`pairing` finds what does again what, `touched` which blocks differ, `taking` copies those that do not, and
`foreseen` counts both before a run.
"""
