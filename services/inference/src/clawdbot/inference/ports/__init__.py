"""What the handlers need of models."""
