"""How the services carry what they say; what they say is `clawdbot.schema`."""
