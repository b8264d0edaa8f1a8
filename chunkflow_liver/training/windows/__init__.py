"""Windows of a training: where they are drawn, how they are augmented, and batches of them made ready."""
