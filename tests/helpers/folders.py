"""Folders of files for tests of layouts."""

import os

UFD_SETS = (
    *("progan", "cyclegan", "biggan", "stylegan", "gaugan", "stargan", "deepfake", "sitd", "san", "crn", "imle"),
    *("guided", "ldm_200", "ldm_200_cfg", "ldm_100", "glide_100_27", "glide_50_27", "glide_100_10", "dalle"),
)


def plant(root, *paths):
    """Write a file at each path below ``root``, which holds its own path; return ``root``."""
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.fsencode(path))
    return root
