"""The real processes, broker, models and sandbox."""
