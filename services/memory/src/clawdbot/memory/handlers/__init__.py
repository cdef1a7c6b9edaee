"""What is done with each request."""
