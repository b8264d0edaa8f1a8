"""`python -m chunkflow_liver` is the command `chunkflow-liver`."""

from __future__ import annotations

from chunkflow_liver.cli import main

if __name__ == "__main__":
    main()
