"""Where data live: OME-Zarr volumes, tables and arrays on local disks, file systems and object stores."""
