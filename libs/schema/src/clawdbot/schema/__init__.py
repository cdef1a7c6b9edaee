"""What the services say to each other; how it is carried is `clawdbot.runtime`."""
