"""The gateway: who is talking is decided here, once; messages in are kept, replies go out."""
