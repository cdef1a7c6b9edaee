"""What touches the world: the bus and the metrics, and the fakes that stand in for them."""
