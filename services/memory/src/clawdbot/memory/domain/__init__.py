"""What is true of memories, whatever keeps them: words, scores, owners, times."""
