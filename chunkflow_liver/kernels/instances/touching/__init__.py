"""Objects that touch, parted where they are narrow or where a map says so: `watershed.split_mask`."""
