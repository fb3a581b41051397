"""Foundations: errors, console, parameters, files, tables, caches, and the file formats that all parts share."""
