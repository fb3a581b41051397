"""Backbone loaders, one module a library."""
