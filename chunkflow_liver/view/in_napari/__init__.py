"""A run in napari: layers, keys that edit, prompts and painted labels that come back."""
