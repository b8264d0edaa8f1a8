"""One file per operation: metadata in, `Plan` out. Building a plan reads no voxels."""
