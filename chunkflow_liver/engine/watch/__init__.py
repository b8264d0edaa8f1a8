"""What is done, and who is at work: who holds a folder, the block of each worker, the workers left."""
