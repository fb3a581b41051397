"""Frozen backbones and the extraction of their embeddings."""
