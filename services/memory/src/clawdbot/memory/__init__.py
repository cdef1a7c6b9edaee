"""Keeps conversations and long-term memories; SQL is the truth, FAISS a projection of it."""
