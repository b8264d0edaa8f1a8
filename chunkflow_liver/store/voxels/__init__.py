"""What a volume knows of its voxels: which are looked at, their coarser levels, what tells arrays apart."""
