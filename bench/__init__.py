"""Ratios of what the system does to what bare libraries do, measured in one interleaved run."""
