"""The `clawdbot` command."""
