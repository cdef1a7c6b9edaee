"""Holds the conversation: recalls, asks the model, runs instructions, remembers, replies."""
