"""What touches the world: ONNX Runtime, tokenizers, model folders, threads, metrics."""
