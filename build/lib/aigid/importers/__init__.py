"""Importers of published detectors, made into bundles."""
