"""Where the executor touches the world: the sandbox, the instruction files, the audit log."""
