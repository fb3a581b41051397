"""Detectors: embeddings in, P(generated) out."""
