"""What touches the world: HTTP in, HTTP out, the bus."""
