"""Where this service touches the world: the database, FAISS, inference, encryption."""
