"""Manifests, layouts and images: what lies on disk."""
