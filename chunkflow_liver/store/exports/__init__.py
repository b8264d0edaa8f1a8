"""Results as other programs want them: TIFF and NIfTI images, CSV, AnnData and SpatialData tables, meshes."""
