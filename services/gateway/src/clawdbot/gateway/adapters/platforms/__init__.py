"""Chat platforms: one file each, which nothing else in the gateway knows by name."""
