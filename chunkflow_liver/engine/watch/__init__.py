"""Who is at work: the process that holds a folder, the block that each worker is at, the workers left."""
