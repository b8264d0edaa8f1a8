"""Any torch network: a TorchScript or torch.export file, or Python code that is allowed, and a description
in YAML.

`kind.read_torch` reads the description, `files.load_torch` loads the network, `kind.TORCH` is how the
registry knows it.
"""
