"""A run in a viewer: neuroglancer with its images, tables and places; edits that come back as a list."""

from __future__ import annotations
