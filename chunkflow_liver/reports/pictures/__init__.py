"""Pictures of the report: slices with overlays, thumbnails, renderings of objects, figures of tables."""
