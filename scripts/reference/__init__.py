"""Reference documents, written from the code: `python -m scripts.reference`."""
