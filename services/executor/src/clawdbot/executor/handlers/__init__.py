"""What the executor decides: whether, what and for whom something is run."""
