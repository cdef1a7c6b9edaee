"""What is true of a turn, whoever carries it out."""
