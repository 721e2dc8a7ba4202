"""Vectors and ids in, neighbours out: indexes, the catalogue, and retrieval for many interests."""
