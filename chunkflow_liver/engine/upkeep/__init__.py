"""What is done to a work folder beside running: damage found and mended, what is not needed removed."""
