"""Tests of what holds the repository together: documents, rules."""
