"""What is true of batches, samples and texts, without any I/O."""
