"""The executor: named instructions, run in a sandbox and recorded."""
