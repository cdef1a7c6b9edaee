"""Builds the ONNX model folders that the inference service loads."""
