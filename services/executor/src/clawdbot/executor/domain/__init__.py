"""What is true of instructions, plans and sandboxes, whatever carries them out."""
