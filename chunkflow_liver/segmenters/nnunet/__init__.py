"""A trained nnU-Net v2 folder: read as data, checked, imported as a clean copy, loaded without running
code.

`folder.read_model` says what it is, `checkpoint.load_networks` loads it, `kind.NNUNET` is how the registry
knows it.
"""
