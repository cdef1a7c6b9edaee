"""Serves ONNX models: chat, token counts and embeddings; it never learns who is talking."""
