"""What is true at the edge, whatever carries it."""
