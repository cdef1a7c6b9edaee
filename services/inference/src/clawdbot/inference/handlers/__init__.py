"""What is done with a request; models are reached through ports."""
