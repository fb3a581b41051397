"""Folders of files for tests of layouts."""

import os


def plant(root, *paths):
    """Write a file at each path below ``root``, which holds its own path; return ``root``."""
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.fsencode(path))
    return root
