"""From windows of raw voxels and labels to the weights of a network; arrays only, no storage."""
