"""What decides: the turn, and the two ways to an answer."""
